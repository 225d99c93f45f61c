"""What trained settings say about untrained ones: a Gaussian process over the attributes of settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

CATEGORICAL_ATTRIBUTES = ("algorithm", "preset", "captions")
NUMERIC_ATTRIBUTES = ("capacity_level", "scale_level", "rate_level", "epoch")
POSTERIOR_SAMPLES, PROBE_POINTS = 24, 1500
LENGTH_SCALE = 0.7
"""Over which part of an attribute's range a setting says much about its neighbours."""
MISMATCH_SIMILARITY = 0.3
"""What one differing attribute leaves of the likeness in all of them together."""

SquareMatrix = Float[np.ndarray, "arms arms"]


def similarity_kernels(settings: pd.DataFrame, checkpoints: int = 1) -> tuple[SquareMatrix, SquareMatrix, SquareMatrix]:
    """How alike settings are, each after each of its lengths: on average over attributes, in all together, at all.

    Args:
        settings: `CATEGORIES` and `LEVELS`, as far as there are.
        lengths: how many checkpoints, the end included, each setting has.

    Returns:
        Matrices over settings, within a setting over lengths.
    """
    parts = []
    for name in CATEGORICAL_ATTRIBUTES:
        values = settings[name].astype(str).to_numpy() if name in settings else np.array([])
        if len(set(values)) > 1:
            parts.append(
                np.repeat(np.repeat((values[:, None] == values).astype(float), checkpoints, 0), checkpoints, 1)
            )
    count = len(settings)
    numbers = [
        np.repeat(settings[name].to_numpy(dtype=float), checkpoints) for name in NUMERIC_ATTRIBUTES if name in settings
    ]
    for values in [*numbers, np.tile(np.arange(checkpoints, dtype=float), count)]:
        steps = np.unique(values[~np.isnan(values)])
        if len(steps) > 1:
            places = np.searchsorted(steps, np.nan_to_num(values, nan=steps[0])) / (len(steps) - 1)
            parts.append(np.exp(-np.abs(places[:, None] - places) / LENGTH_SCALE))
    same = np.eye(count * checkpoints)
    if not parts:
        return same, same, same
    return (
        np.mean(parts, axis=0),
        np.prod([MISMATCH_SIMILARITY + (1 - MISMATCH_SIMILARITY) * part for part in parts], axis=0),
        same,
    )


def farthest_setting(settings: pd.DataFrame, tried: Sequence[str], rng: np.random.Generator) -> int:
    """The row of the setting that is least like those tried; any, where none was."""
    alike, _, _ = similarity_kernels(settings)
    names = settings["config"].astype(str).to_numpy()
    done = np.isin(names, list(tried))
    if not done.any():
        return int(rng.integers(len(names)))
    nearest = alike[:, done].max(axis=1) + 1e-6 * rng.random(len(names))
    return int(np.where(done, np.inf, nearest).argmin())


def expected_hypervolume_argmax(
    settings: pd.DataFrame, points: Mapping[str, np.ndarray], rng: np.random.Generator
) -> int:
    """The row of the untried setting that is expected to add most to the front's hypervolume by itself.

    Samples of the posterior are taken of all settings; in each, what a setting adds is the part of the volume that it
    alone dominates.

    Args:
        settings: a row each, with ``config`` and attributes.
        points: tried setting -> its mean ranks, lengths x dimensions, the end last.
        rng: random numbers.
    """
    names = [str(name) for name in settings["config"]]
    lengths = max(len(own) for own in points.values())
    told = [
        (names.index(config) * lengths + lengths - len(own) + place, point)
        for config, own in points.items()
        for place, point in enumerate(own)
    ]
    rows = np.array([row for row, _ in told])
    values = np.stack([point for _, point in told])
    matrices = similarity_kernels(settings, lengths)
    posteriors = [_posterior(matrices, rows, column) for column in values.T]
    gain = np.zeros(len(names) * lengths)
    for _ in range(POSTERIOR_SAMPLES):
        drawn = np.stack([mean + root @ rng.standard_normal(len(mean)) for mean, root in posteriors], axis=1)
        drawn = drawn.clip(0.0, 1.0)
        probes = rng.random((PROBE_POINTS, values.shape[1])) * np.maximum(drawn.max(axis=0), 1e-6)
        below = (probes[None] <= drawn[:, None]).all(axis=2)
        gain += (below & (below.sum(axis=0) == 1)).sum(axis=1)
    by_setting = gain.reshape(len(names), lengths).sum(axis=1) + 1e-6 * rng.random(len(names))
    by_setting[np.isin(names, list(points))] = -1.0
    return int(by_setting.argmax())


def _kernel_mixtures() -> Iterator[tuple[float, float, float, float]]:
    """Parts of the mean, joint and own likeness, and the variance of one observation beside theirs."""
    for mean, joint in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        for own in (0.1, 0.5, 2.0):
            for noise in (0.1, 0.3, 1.0):
                yield mean, joint, own, noise


def _posterior(
    matrices: tuple[SquareMatrix, SquareMatrix, SquareMatrix], rows: np.ndarray, values: Float[np.ndarray, " observed"]
) -> tuple[Float[np.ndarray, " arms"], SquareMatrix]:
    """Mean and a root of the covariance of all arms, under the mixture that makes the observed values likeliest."""
    centre, spread_of = float(values.mean()), max(float(values.var()), 1e-4)
    best: tuple[float, SquareMatrix, np.ndarray, np.ndarray] | None = None
    zero = np.zeros_like(matrices[0])
    for *parts, noise in _kernel_mixtures():
        mixed = sum((part * one for part, one in zip(parts, matrices, strict=True)), zero)
        prior: SquareMatrix = spread_of * mixed / sum(parts)
        prior = prior / (1 + noise) + 0.5 * spread_of
        observed = prior[np.ix_(rows, rows)] + spread_of * noise / (1 + noise) * np.eye(len(rows))
        root = np.linalg.cholesky(observed + 1e-9 * np.eye(len(rows)))
        white = np.linalg.solve(root, values - centre)
        likelihood = -0.5 * float(white @ white) - float(np.log(np.diag(root)).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, prior, root, white
    assert best is not None
    _, prior, root, white = best
    half = np.linalg.solve(root, prior[rows])
    covariance = prior - half.T @ half
    jitter = (1e-8 + 1e-6 * spread_of) * np.eye(len(prior))
    return centre + half.T @ white, np.linalg.cholesky(covariance + jitter)
