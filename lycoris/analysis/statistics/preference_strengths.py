"""Strengths of settings from votes between two of them at a time, with ties and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from lycoris.errors import InputError

Answer = Literal["left", "right", "tie"]
PRIOR_DEVIATION = 3.0
"""Standard deviation of a normal prior on strengths, which keeps them finite where one setting wins every vote."""
MIN_VOTERS = 5
"""From this many voters on intervals are over voters; below, over votes."""
CONFIDENCE_LEVEL = 0.95
MAX_ITERATIONS = 100


@dataclass(frozen=True)
class Vote:
    """One answer.

    Attributes:
        left, right: what was compared.
        answer: which of the two is better, or ``"tie"``.
        voter: who answered.
    """

    left: str
    right: str
    answer: Answer
    voter: str = ""


@dataclass(frozen=True)
class Strength:
    """The strength of one setting: the logarithm of the odds, centered over all settings.

    Attributes:
        name: the setting.
        value: its strength; the odds of a win over another one are exp of the difference, ties aside.
        low, high: the 95 % interval.
        votes: in how many it took part.
    """

    name: str
    value: float
    low: float
    high: float
    votes: int


@dataclass(frozen=True)
class Strengths:
    """The strengths of all settings, the best first.

    Attributes:
        settings: one entry each.
        tie_odds: the odds of a tie between equal settings, against a win of either.
        unit: what intervals are over: ``"voter"`` or ``"vote"``.
    """

    settings: list[Strength]
    tie_odds: float
    unit: Literal["voter", "vote"]

    def of(self, name: str) -> Strength:
        """The strength of one setting."""
        return next(each for each in self.settings if each.name == name)


def fit_strengths(votes: Sequence[Vote]) -> Strengths:
    """Fit the model of Bradley and Terry with ties, by maximum a posteriori.

    P(left) : P(tie) : P(right) = exp(a) : ν exp((a + b) / 2) : exp(b). Intervals are the posterior's curvature; with at
    least `MIN_VOTERS` voters they are over voters (sandwich estimate, Student's t), whose preferences may differ.

    Args:
        votes: at least one.

    Raises:
        InputError: there is no vote, or one compares a setting with itself.

    Source: Bradley and Terry, Biometrika 39, 1952; Davidson, JASA 65, 1970; Liang and Zeger, Biometrika 73, 1986.
    """
    if not votes:
        raise InputError("Strengths need at least one vote.")
    same = next((vote for vote in votes if vote.left == vote.right), None)
    if same is not None:
        raise InputError(f"A vote must compare two settings, but got `{same.left}` twice.")
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    sides = np.array([[names.index(vote.left), names.index(vote.right)] for vote in votes])
    features, chosen = _features(votes, sides, len(names))
    parameters, curvature = _maximize(features, chosen)
    covariance = np.linalg.inv(curvature)
    voters = sorted({vote.voter for vote in votes})
    unit: Literal["voter", "vote"] = "vote"
    factor = float(stats.norm.ppf((1 + CONFIDENCE_LEVEL) / 2))
    if len(voters) >= MIN_VOTERS:
        unit, factor = "voter", float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, len(voters) - 1))
        own = np.array([voters.index(vote.voter) for vote in votes])
        covariance = covariance @ _voter_scatter(parameters, features, chosen, own) @ covariance
    center = np.eye(len(names)) - 1 / len(names)
    values = center @ parameters[:-1]
    errors = np.sqrt(np.diag(center @ covariance[:-1, :-1] @ center.T).clip(0.0))
    counts = np.bincount(sides.ravel(), minlength=len(names))
    fitted = [
        Strength(name, float(value), float(value - factor * error), float(value + factor * error), int(count))
        for name, value, error, count in zip(names, values, errors, counts, strict=True)
    ]
    return Strengths(sorted(fitted, key=lambda each: -each.value), float(np.exp(parameters[-1])), unit)


def _features(
    votes: Sequence[Vote], sides: Int[np.ndarray, "votes 2"], count: int
) -> tuple[Float[np.ndarray, "votes outcomes parameters"], Int[np.ndarray, " votes"]]:
    """What each outcome (left, right, tie) of each vote adds to the logarithm of its odds, and which occurred."""
    rows = np.arange(len(votes))
    features = np.zeros((len(votes), 3, count + 1))
    for outcome, side in ((0, 0), (1, 1)):
        features[rows, outcome, sides[:, side]] = 1.0
        features[rows, 2, sides[:, side]] = 0.5
    features[:, 2, count] = 1.0
    outcomes = ("left", "right", "tie")
    return features, np.array([outcomes.index(vote.answer) for vote in votes])


def _maximize(
    features: Float[np.ndarray, "votes outcomes parameters"], chosen: Int[np.ndarray, " votes"]
) -> tuple[Float[np.ndarray, " parameters"], Float[np.ndarray, "parameters parameters"]]:
    """The parameters with the largest posterior, by Newton's method with halved steps, and its curvature there."""
    size = features.shape[2]
    prior = np.eye(size) / PRIOR_DEVIATION**2
    parameters = np.zeros(size)

    def log_posterior(values: np.ndarray) -> float:
        scores = features @ values
        own = scores[np.arange(len(chosen)), chosen]
        return float((own - np.logaddexp.reduce(scores, axis=1)).sum() - values @ prior @ values / 2)

    for _ in range(MAX_ITERATIONS):
        probabilities, gradient = _probabilities(parameters, features), -prior @ parameters
        mean = np.einsum("vo,vop->vp", probabilities, features)
        gradient = gradient + (features[np.arange(len(chosen)), chosen] - mean).sum(axis=0)
        second = np.einsum("vo,vop,voq->pq", probabilities, features, features) - mean.T @ mean
        curvature = second + prior
        step = np.linalg.solve(curvature, gradient)
        if np.abs(step).max() < 1e-9:
            break
        before = log_posterior(parameters)
        while log_posterior(parameters + step) < before and np.abs(step).max() > 1e-12:
            step = step / 2
        parameters = parameters + step
    return parameters, curvature


def _probabilities(
    parameters: Float[np.ndarray, " parameters"], features: Float[np.ndarray, "votes outcomes parameters"]
) -> Float[np.ndarray, "votes outcomes"]:
    scores = features @ parameters
    return np.asarray(np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)))


def _voter_scatter(
    parameters: Float[np.ndarray, " parameters"],
    features: Float[np.ndarray, "votes outcomes parameters"],
    chosen: Int[np.ndarray, " votes"],
    voters: Int[np.ndarray, " votes"],
) -> Float[np.ndarray, "parameters parameters"]:
    """The scatter of the voters' contributions to the gradient."""
    mean = np.einsum("vo,vop->vp", _probabilities(parameters, features), features)
    residuals = features[np.arange(len(chosen)), chosen] - mean
    count = int(voters.max()) + 1
    sums = np.stack([residuals[voters == voter].sum(axis=0) for voter in range(count)])
    return np.asarray(sums.T @ sums * count / (count - 1))
