"""How far a score would move had other seeds been drawn: leave-one-out influences, resampled.

A score's influence is how much each drawing pulls it: n - 1 times what leaving the drawing out changes. For
a mean that is the drawing's own value, and resampling influences is the ordinary bootstrap; for Vendi
scores and distances between distributions it is the bootstrap of their linear part, free of the bias that
repeated drawings bring in.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from lycoris.metrics.functional import Rule

LEVEL = 0.95
ONE_BY_ONE = 256
"""More drawings than this are left out in blocks instead of one by one."""
BLOCKS = 64
"""How many blocks that are."""


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


def estimate(rule: Rule, arrays: Sequence[np.ndarray], *, least: int = 1, groups: np.ndarray | None = None) -> Estimate:
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
        if smallest < least:
            return Estimate(None, note=f"needs {least} drawings in each situation, got {smallest} in one")
        values = np.array([rule(rows) for rows in members])
        return Estimate(float(values.mean()), values - values.mean())
    if count < least:
        return Estimate(None, note=f"needs {least} drawings, got {count}")
    value = rule(*arrays)
    if not np.isfinite(value):
        return Estimate(None, note="undefined: nothing was there to count")
    if count <= least:
        return Estimate(value, note=f"an interval needs {least + 1} drawings, got {count}")
    units = count if count <= ONE_BY_ONE else BLOCKS
    kept = np.arange(count) % units != np.arange(units)[:, None]
    without = rule(*arrays, weights=kept / kept.sum(1, keepdims=True))
    if not np.isfinite(without).all():
        return Estimate(value, note="no interval: the score hangs on a single drawing")
    return Estimate(value, (units - 1) * (without.mean() - without))


def interval(estimate: Estimate, *, seed: int = 0, resamples: int = 1000) -> tuple[float, float] | None:
    """A 95 % bootstrap interval of a score over its drawings; ``None`` where there is none."""
    if estimate.value is None or estimate.influence is None:
        return None
    moved = _resampled(len(estimate.influence), resamples, seed, 0) @ estimate.influence
    return _percentiles(estimate.value, moved, len(estimate.influence))


def difference_interval(
    first: Estimate, second: Estimate, *, paired: bool, seed: int = 0, resamples: int = 1000
) -> tuple[float, float] | None:
    """A 95 % bootstrap interval of ``first - second``; ``None`` where there is none.

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
    if paired:
        moved = _resampled(own, resamples, seed, 0) @ (first.influence - second.influence)
    else:
        moved = _resampled(own, resamples, seed, 0) @ first.influence
        moved = moved - _resampled(other, resamples, seed, 1) @ second.influence
    return _percentiles(first.value - second.value, moved, min(own, other))


@functools.lru_cache(maxsize=8)
def _resampled(units: int, resamples: int, seed: int, stream: int) -> Float[np.ndarray, "resamples units"]:
    """How often each unit is drawn, over their number; the same table for every score of the same size."""
    generator = np.random.default_rng([seed, units, stream])
    table = generator.multinomial(units, np.full(units, 1 / units), size=resamples) / units
    table.flags.writeable = False
    return table


def _percentiles(centre: float, moved: Float[np.ndarray, " resamples"], units: int) -> tuple[float, float]:
    """Percentiles, taken further out for few units, so that an interval has the width of Student's.

    Source: the expanded percentile interval of Hesterberg, arXiv 1411.5279.
    """
    tail = float(special.ndtr(np.sqrt(units / (units - 1)) * stats.t.ppf((1 - LEVEL) / 2, units - 1)))
    low, high = np.quantile(moved, [tail, 1 - tail])
    return centre + float(low), centre + float(high)
