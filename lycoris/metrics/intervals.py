"""How far a score would move had other seeds been drawn: leave-one-out influences, resampled.

A score's influence is how much each drawing pulls it: n - 1 times what leaving the drawing out changes. For
a mean that is the drawing's own value, and resampling influences is the ordinary bootstrap; for Vendi
scores and distances between distributions it is the bootstrap of their linear part, free of the bias that
repeated drawings bring in. A bootstrap of a handful of drawings has few values to choose from and is too narrow:
there the interval is Student's, from the standard error of the influences.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from lycoris.metrics.weighted import MetricFunction

CONFIDENCE_LEVEL = 0.95
MIN_BOOTSTRAP_UNITS = 8
"""Fewer units than this are too few for a bootstrap."""
MAX_LEAVE_ONE_OUT = 128
"""More drawings than this are left out in blocks instead of one by one."""
BLOCK_COUNT = 64
"""How many blocks that are."""
UNDEFINED_NOTE = "undefined: nothing was there to count"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A score with what its interval is made of.

    Attributes:
        value: the score; ``None`` where it is undefined.
        influence: one number a unit (a drawing, a block of drawings, a situation), of mean 0; ``None``
            where there is no interval.
        note: why something is ``None``.
    """

    value: float | None
    influence: Float[np.ndarray, " units"] | None = None
    note: str = ""


def estimate_metric(
    function: MetricFunction, arrays: Sequence[np.ndarray], *, min_images: int = 1, groups: np.ndarray | None = None
) -> Estimate:
    """A metric's value and influences.

    Args:
        rule: the metric.
        arrays: its features, the drawings' last.
        least: the fewest drawings it is defined for.
        groups: the situation of each drawing, for a metric of the drawings alone that is computed in each
            situation and averaged; situations are then what is resampled.
    """
    count = len(arrays[-1])
    if groups is not None and len(np.unique(groups)) > 1:
        members = [arrays[-1][groups == group] for group in np.unique(groups)]
        smallest = min(len(rows) for rows in members)
        if smallest < min_images:
            return Estimate(None, note=f"needs {min_images} drawings in each situation, got {smallest} in one")
        values = np.array([function(rows) for rows in members])
        return Estimate(float(values.mean()), values - values.mean())
    if count < min_images:
        return Estimate(None, note=f"needs {min_images} drawings, got {count}")
    if count <= min_images:
        value = function(*arrays)
        if not np.isfinite(value):
            return Estimate(None, note=UNDEFINED_NOTE)
        return Estimate(value, note=f"an interval needs {min_images + 1} drawings, got {count}")
    units = count if count <= MAX_LEAVE_ONE_OUT else BLOCK_COUNT
    kept = np.arange(count) % units != np.arange(-1, units)[:, None]
    value, *rest = function(*arrays, weights=kept / kept.sum(1, keepdims=True)).tolist()
    without = np.array(rest)
    if not np.isfinite(value):
        return Estimate(None, note=UNDEFINED_NOTE)
    if not np.isfinite(without).all():
        return Estimate(value, note="no interval: the score hangs on a single drawing")
    if np.ptp(without) <= 1e-12 * abs(value) and abs(without[0] - value) > 1e-9 * abs(value):
        return Estimate(value, note="no interval: every drawing moves the score alike")
    return Estimate(value, (units - 1) * (without.mean() - without))


def confidence_interval(estimate: Estimate, *, seed: int = 0, resamples: int = 1000) -> tuple[float, float] | None:
    """A 95 % interval of a score over its drawings; ``None`` where there is none.

    It is a bootstrap's; with fewer than eight units it is Student's.
    """
    if estimate.value is None or estimate.influence is None:
        return None
    if len(estimate.influence) < MIN_BOOTSTRAP_UNITS:
        return _student_interval(estimate.value, estimate.influence)
    moved = _resampling_weights(len(estimate.influence), resamples, seed, 0) @ estimate.influence
    return _expanded_percentile_interval(estimate.value, moved, len(estimate.influence))


def difference_interval(
    first: Estimate, second: Estimate, *, paired: bool, seed: int = 0, resamples: int = 1000
) -> tuple[float, float] | None:
    """A 95 % interval of ``first - second``; ``None`` where there is none.

    It is a bootstrap's; where either has fewer than eight units it is Student's, unpaired with Welch's degrees of
    freedom.

    Args:
        first: a score.
        second: the same score of other drawings.
        paired: whether drawing i of both is of one prompt and seed; then both are resampled alike,
            otherwise apart.
        seed: of the resampling.
        resamples: their number.
    """
    if first.value is None or second.value is None or first.influence is None or second.influence is None:
        return None
    own, other = len(first.influence), len(second.influence)
    if min(own, other) < MIN_BOOTSTRAP_UNITS:
        parts = [first.influence - second.influence] if paired else [first.influence, second.influence]
        return _student_interval(first.value - second.value, *parts)
    if paired:
        moved = _resampling_weights(own, resamples, seed, 0) @ (first.influence - second.influence)
    else:
        moved = _resampling_weights(own, resamples, seed, 0) @ first.influence
        moved = moved - _resampling_weights(other, resamples, seed, 1) @ second.influence
    return _expanded_percentile_interval(first.value - second.value, moved, min(own, other))


def _student_interval(centre: float, *influences: Float[np.ndarray, " units"]) -> tuple[float, float]:
    """Student's interval of a sum of independent parts.

    Source: Student, Biometrika 6, 1908; degrees of freedom of two parts: Welch, Biometrika 34, 1947.
    """
    parts = [(float((each**2).sum()) / (len(each) * (len(each) - 1)), len(each) - 1) for each in influences]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return centre, centre
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    reach = float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, freedom)) * variance**0.5
    return centre - reach, centre + reach


@functools.lru_cache(maxsize=8)
def _resampling_weights(units: int, resamples: int, seed: int, stream: int) -> Float[np.ndarray, "resamples units"]:
    """How often each unit is drawn, over their number; the same table for every score of the same size."""
    generator = np.random.default_rng([seed, units, stream])
    table = generator.multinomial(units, np.full(units, 1 / units), size=resamples) / units
    table.flags.writeable = False
    return table


def _expanded_percentile_interval(
    centre: float, resampled: Float[np.ndarray, " resamples"], units: int
) -> tuple[float, float]:
    """Percentiles, taken further out for few units, so that an interval has the width of Student's.

    Source: the expanded percentile interval of Hesterberg, arXiv 1411.5279.
    """
    tail = _expanded_tail(units)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return centre + float(low), centre + float(high)


@functools.cache
def _expanded_tail(units: int) -> float:
    """The part of a normal distribution beyond which the expanded percentile lies."""
    return float(special.ndtr(np.sqrt(units / (units - 1)) * stats.t.ppf((1 - CONFIDENCE_LEVEL) / 2, units - 1)))
