"""When a challenger takes the champion's place: a rule that is stated and can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import HEADLINE_SCORES

PROMOTION_RULE = (
    "On the same prompts and seeds, and against pictures that the challenger was not trained on, the challenger must "
    "be better than the champion in the goal, outside the 95 % interval of their difference in every encoder; and no "
    "other dimension may be worse, outside its interval in any encoder, by more than is allowed for it. Dimensions "
    "are judged by " + ", ".join(f"{score} ({name})" for name, score in HEADLINE_SCORES.items()) + "."
)


@dataclass(frozen=True)
class PromotionDecision:
    """What a contest came to.

    Attributes:
        promoted: whether the challenger takes the champion's place.
        reason: one sentence for people.
        dimensions: dimension -> ``"better"``, ``"worse"``, ``"no difference shown"`` or ``"not measured"``.
    """

    promoted: bool
    reason: str
    dimensions: dict[str, str]


def decide_promotion(
    scores: Sequence[Mapping[str, Any]], target_dimension: str = "fidelity", tolerances: Mapping[str, float] = {}
) -> PromotionDecision:
    """Whether a challenger is promoted, by `PROMOTION_RULE`.

    Args:
        scores: records of `lycoris.metrics.paired_comparison`.
        goal: the dimension that must be better.
        allowed: dimension -> how much worse it may be, in the unit of its score, at least 0; 0 where it is absent.

    Raises:
        InputError: a dimension is unknown or an allowance below 0.
    """
    for name in (target_dimension, *tolerances):
        if name not in HEADLINE_SCORES:
            raise unknown_name_error("dimension", name, HEADLINE_SCORES)
    for name, loss in tolerances.items():
        if not loss >= 0:
            raise InputError(f"Argument `allowed` must be at least 0, but got {loss} for `{name}`.")
    told = {
        name: [each for each in scores if each["name"].startswith(f"{score}/")]
        for name, score in HEADLINE_SCORES.items()
    }
    found = {name: _dimension_outcome(some, tolerances.get(name, 0.0)) for name, some in told.items()}
    worse = [name for name, state in found.items() if state == "worse" and name != target_dimension]
    promoted = found[target_dimension] == "better" and not worse
    shown = "; ".join(_describe_scores(name, told[name]) for name in (target_dimension, *worse) if told[name])
    if promoted:
        reason = f"better in {target_dimension}, and nothing worse than allowed ({shown})"
    elif found[target_dimension] != "better":
        reason = f"{target_dimension}: {found[target_dimension]}" + (f" ({shown})" if shown else "")
    else:
        reason = f"better in {target_dimension}, but worse in {', '.join(worse)} ({shown})"
    return PromotionDecision(promoted, reason, found)


def _dimension_outcome(scores: Sequence[Mapping[str, Any]], tolerance: float) -> str:
    gains = [_oriented_interval(score) for score in scores]
    if not gains or any(gain is None for gain in gains):
        return "not measured"
    ends = [gain for gain in gains if gain is not None]
    if any(high < -tolerance for _, high in ends):
        return "worse"
    return "better" if all(low > 0 for low, _ in ends) else "no difference shown"


def _oriented_interval(score: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of the difference, turned so that above 0 is better."""
    low, high = score["difference_low"], score["difference_high"]
    if low is None or high is None:
        return None
    return (low, high) if score["higher_is_better"] else (-high, -low)


def _describe_scores(dimension: str, scores: Sequence[Mapping[str, Any]]) -> str:
    def one(score: Mapping[str, Any]) -> str:
        if score["difference_low"] is None:
            return f"{score['name']} {score['note'] or 'has no interval'}"
        ends = f"[{score['difference_low']:+.4g}, {score['difference_high']:+.4g}]"
        return f"{score['name']} {score['difference']:+.4g} {ends}"

    return ", ".join(one(score) for score in scores)
