"""Means over values of which some are missing, and their intervals over groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lycoris.metrics.intervals import Estimate, confidence_interval


@dataclass(frozen=True)
class GroupMean:
    """A mean over groups with its 95 % interval; ``low`` and ``high`` are None for a single group."""

    mean: float
    low: float | None
    high: float | None
    groups: int


def mean_over_groups(values: Float[np.ndarray, " groups"], minimum: float) -> GroupMean | None:
    """The mean over groups with its 95 % interval; None when there is no value.

    The interval is a bootstrap, or Student's t for a few groups (`lycoris.metrics.intervals`), clipped to the range of
    the values.

    Args:
        values: one per group; NaN where there is none.
        minimum: the smallest possible value; the largest is 1.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    mean = float(known.mean())
    ends = confidence_interval(Estimate(mean, known - mean)) if len(known) > 1 else None
    if ends is None:
        return GroupMean(mean, None, None, len(known))
    return GroupMean(mean, max(ends[0], minimum), min(ends[1], 1.0), len(known))


def mean_of_known(values: Float[np.ndarray, ...], axis: int) -> Float[np.ndarray, ...]:
    """The mean along an axis without the NaNs; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)
