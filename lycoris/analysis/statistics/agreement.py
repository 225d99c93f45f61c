"""How far one number ranks adapters as another does: Spearman's correlation within concepts, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from lycoris.errors import InputError

MIN_ADAPTERS = 4
"""Adapters of one concept under which a rank correlation says nothing."""
RESAMPLES = 1000
CONFIDENCE_LEVEL = 0.95

ScorePair = tuple[Float[np.ndarray, " adapters"], Float[np.ndarray, " adapters"]]


def mean_rank_correlation(
    pairs: Sequence[Sequence[ScorePair]], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float] | None:
    """The mean rank correlation of two numbers over concepts and prompt types, and its interval.

    Args:
        pairs: for each concept, for each prompt type, both numbers of every adapter, in one order of adapters.
        seed: of the resampling of adapters, which is the same for all prompt types of a concept.
        resamples: their number.

    Returns:
        The mean and the ends of its 95 % percentile interval; ``None`` where no concept has four adapters that both
        numbers tell apart.

    Raises:
        InputError: the numbers of one concept are of unlike length.

    Source: Spearman, American Journal of Psychology 15, 1904; Efron, Annals of Statistics 7, 1979.
    """
    generator = np.random.default_rng(seed)
    found, moved = [], []
    for concept in pairs:
        count = len(concept[0][0]) if concept else 0
        if any(len(numbers) != count for pair in concept for numbers in pair):
            raise InputError("Numbers of one concept must be one an adapter, but are of unlike length.")
        if count < MIN_ADAPTERS:
            continue
        rows = np.concatenate([np.arange(count)[None], generator.integers(0, count, (resamples, count))])
        for first, second in concept:
            both = spearman(first[rows], second[rows])
            if np.isfinite(both[0]):
                found.append(both[0])
                moved.append(both[1:])
    if not found:
        return None
    means = np.nanmean(np.stack(moved), axis=0)
    low, high = np.nanquantile(means, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return float(np.mean(found)), float(low), float(high)


def spearman(
    first: Float[np.ndarray, "rows adapters"], second: Float[np.ndarray, "rows adapters"]
) -> Float[np.ndarray, " rows"]:
    """Spearman's rank correlation of each row, ties at their mean rank; NaN where a row is all ties."""
    ranks = [stats.rankdata(numbers, axis=1) for numbers in (first, second)]
    x, y = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
