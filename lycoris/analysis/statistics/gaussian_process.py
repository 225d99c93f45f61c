"""A Gaussian process over the attributes of settings: from the ranks of trained settings to those of untrained ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

CATEGORICAL_ATTRIBUTES = ("algorithm", "preset", "captions", "times")
NUMERIC_ATTRIBUTES = ("capacity_level", "scale_level", "rate_level", "epoch")
POSTERIOR_SAMPLES, PROBE_POINTS = 24, 1500
LENGTH_SCALE = 0.7
"""Of the exponential kernel over a numeric attribute, as a fraction of its range."""
MISMATCH_SIMILARITY = 0.3
"""The factor by which one differing attribute lowers the joint similarity."""

SquareMatrix = Float[np.ndarray, "points points"]


def similarity_kernels(settings: pd.DataFrame, checkpoints: int = 1) -> tuple[SquareMatrix, SquareMatrix, SquareMatrix]:
    """The similarity of settings at each checkpoint: mean over attributes, product over attributes, identity.

    Args:
        settings: one row each, with any of `CATEGORICAL_ATTRIBUTES` and `NUMERIC_ATTRIBUTES`.
        checkpoints: how many checkpoints each setting has, the end of training included.

    Returns:
        Matrices over points: the checkpoints of the first setting, then of the second, and so on.
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
            positions = np.searchsorted(steps, np.nan_to_num(values, nan=steps[0])) / (len(steps) - 1)
            parts.append(np.exp(-np.abs(positions[:, None] - positions) / LENGTH_SCALE))
    same = np.eye(count * checkpoints)
    if not parts:
        return same, same, same
    return (
        np.mean(parts, axis=0),
        np.prod([MISMATCH_SIMILARITY + (1 - MISMATCH_SIMILARITY) * part for part in parts], axis=0),
        same,
    )


def farthest_setting(settings: pd.DataFrame, tried: Sequence[str], rng: np.random.Generator) -> int:
    """The row of the setting that is least similar to those tried; a random one when none was tried."""
    similarity, _, _ = similarity_kernels(settings)
    names = settings["config"].astype(str).to_numpy()
    done = np.isin(names, list(tried))
    if not done.any():
        return int(rng.integers(len(names)))
    nearest = similarity[:, done].max(axis=1) + 1e-6 * rng.random(len(names))
    return int(np.where(done, np.inf, nearest).argmin())


def expected_hypervolume_argmax(
    settings: pd.DataFrame, points: Mapping[str, np.ndarray], rng: np.random.Generator
) -> int:
    """The row of the untried setting with the largest expected contribution to the hypervolume of the front.

    In each sample of the posterior, the contribution of a setting is the volume that it alone dominates.

    Args:
        settings: one row each, with ``config`` and attributes.
        points: tried setting -> its mean ranks, checkpoints x dimensions, the end of training last.
        rng: random numbers.
    """
    names = [str(name) for name in settings["config"]]
    checkpoints = max(len(own) for own in points.values())
    observed = [
        (names.index(config) * checkpoints + checkpoints - len(own) + index, point)
        for config, own in points.items()
        for index, point in enumerate(own)
    ]
    rows = np.array([row for row, _ in observed])
    values = np.stack([point for _, point in observed])
    matrices = similarity_kernels(settings, checkpoints)
    posteriors = [_posterior(matrices, rows, column) for column in values.T]
    gain = np.zeros(len(names) * checkpoints)
    for _ in range(POSTERIOR_SAMPLES):
        sample = np.stack([mean + root @ rng.standard_normal(len(mean)) for mean, root in posteriors], axis=1)
        sample = sample.clip(0.0, 1.0)
        probes = rng.random((PROBE_POINTS, values.shape[1])) * np.maximum(sample.max(axis=0), 1e-6)
        below = (probes[None] <= sample[:, None]).all(axis=2)
        gain += (below & (below.sum(axis=0) == 1)).sum(axis=1)
    by_setting = gain.reshape(len(names), checkpoints).sum(axis=1) + 1e-6 * rng.random(len(names))
    by_setting[np.isin(names, list(points))] = -1.0
    return int(by_setting.argmax())


def _kernel_mixtures() -> Iterator[tuple[float, float, float, float]]:
    """Weights of the mean, joint and identity kernels, and the noise variance relative to theirs."""
    for mean, joint in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        for own in (0.1, 0.5, 2.0):
            for noise in (0.1, 0.3, 1.0):
                yield mean, joint, own, noise


def _posterior(
    matrices: tuple[SquareMatrix, SquareMatrix, SquareMatrix], rows: np.ndarray, values: Float[np.ndarray, " observed"]
) -> tuple[Float[np.ndarray, " points"], SquareMatrix]:
    """The posterior mean of all points and a root of its covariance, under the most likely mixture of kernels."""
    center, variance = float(values.mean()), max(float(values.var()), 1e-4)
    best: tuple[float, SquareMatrix, np.ndarray, np.ndarray] | None = None
    zero = np.zeros_like(matrices[0])
    for *parts, noise in _kernel_mixtures():
        mixed = sum((part * one for part, one in zip(parts, matrices, strict=True)), zero)
        prior: SquareMatrix = variance * mixed / sum(parts)
        prior = prior / (1 + noise) + 0.5 * variance
        observed = prior[np.ix_(rows, rows)] + variance * noise / (1 + noise) * np.eye(len(rows))
        root = np.linalg.cholesky(observed + 1e-9 * np.eye(len(rows)))
        white = np.linalg.solve(root, values - center)
        likelihood = -0.5 * float(white @ white) - float(np.log(np.diag(root)).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, prior, root, white
    assert best is not None
    _, prior, root, white = best
    half = np.linalg.solve(root, prior[rows])
    covariance = prior - half.T @ half
    jitter = (1e-8 + 1e-6 * variance) * np.eye(len(prior))
    return center + half.T @ white, np.linalg.cholesky(covariance + jitter)
