"""Rank agreement of two numbers over adapters: Spearman's correlation within concepts, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from lycoris.errors import InputError

MIN_ADAPTERS = 4
"""With fewer adapters of a concept a rank correlation means nothing."""
RESAMPLES = 1000
CONFIDENCE_LEVEL = 0.95

ScorePair = tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""Two numbers of every adapter of a concept."""


def mean_rank_correlation(
    pairs: Sequence[Sequence[ScorePair]], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float] | None:
    """The mean rank correlation of two numbers over concepts and prompt types, with its interval.

    Args:
        pairs: for each concept and prompt type both numbers of every adapter, adapters in one order per concept.
        seed: of the resampling of adapters, which all prompt types of a concept share.
        resamples: the number of resamples.

    Returns:
        The mean and the ends of its 95 % percentile interval; None where no concept has four adapters that differ in
        both numbers.

    Raises:
        InputError: The numbers of one concept differ in length.

    Source: Spearman, American Journal of Psychology 15, 1904; Efron, Annals of Statistics 7, 1979.
    """
    generator = np.random.default_rng(seed)
    values, resampled = [], []
    for concept in pairs:
        count = len(concept[0][0]) if concept else 0
        if any(len(numbers) != count for pair in concept for numbers in pair):
            raise InputError(
                "Argument `pairs` must have one number per adapter within a concept, but the lengths differ."
            )
        if count < MIN_ADAPTERS:
            continue
        rows = np.concatenate([np.arange(count)[None], generator.integers(0, count, (resamples, count))])
        for first, second in concept:
            correlations = spearman(first[rows], second[rows])
            if np.isfinite(correlations[0]):
                values.append(correlations[0])
                resampled.append(correlations[1:])
    if not values:
        return None
    means = np.nanmean(np.stack(resampled), axis=0)
    low, high = np.nanquantile(means, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return float(np.mean(values)), float(low), float(high)


def spearman(
    first: Float[np.ndarray, "rows adapters"], second: Float[np.ndarray, "rows adapters"]
) -> Float[np.ndarray, " rows"]:
    """Spearman's rank correlation of each row, ties at their mean rank; NaN where a row is all ties."""
    ranks = [stats.rankdata(numbers, axis=1) for numbers in (first, second)]
    x, y = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
