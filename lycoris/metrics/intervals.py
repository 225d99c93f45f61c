"""Confidence intervals of scores over prompts and seeds, by resampled leave-one-out influences.

The influence of an image is n - 1 times the change of the score when the image is left out. For a mean it is the
image's own value, and resampling influences is the ordinary bootstrap; for Vendi scores and distances between
distributions it is the bootstrap of their linear part, without the bias of repeated images. A bootstrap of a handful of
images has too few values to choose from and is too narrow, so few images get Student's interval with the standard error
of the influences.
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
"""Fewer units than this get Student's interval."""
MAX_LEAVE_ONE_OUT = 128
"""More images than this are left out in blocks instead of one by one."""
BLOCK_COUNT = 64
"""The number of blocks."""
UNDEFINED_NOTE = "undefined: nothing to count"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A score with the influences that its interval is computed from.

    Attributes:
        value: the score; None if it is undefined.
        influence: one number per unit (an image, a block of images, a situation), with mean 0; None if there is no
            interval.
        note: why something is None.
    """

    value: float | None
    influence: Float[np.ndarray, " units"] | None = None
    note: str = ""


def estimate_metric(
    function: MetricFunction, arrays: Sequence[np.ndarray], *, min_images: int = 1, groups: np.ndarray | None = None
) -> Estimate:
    """Compute a metric's value and influences.

    Args:
        function: the metric.
        arrays: its features, those of the generated images last.
        min_images: the fewest images that the metric is defined for.
        groups: the situation of each image, for a metric of the generated images alone that is computed in each
            situation and averaged; the situations are then the units.
    """
    count = len(arrays[-1])
    if groups is not None and len(np.unique(groups)) > 1:
        members = [arrays[-1][groups == group] for group in np.unique(groups)]
        smallest = min(len(rows) for rows in members)
        if smallest < min_images:
            return Estimate(None, note=f"needs {min_images} images in each situation, got {smallest} in one")
        values = np.array([function(rows) for rows in members])
        return Estimate(float(values.mean()), values - values.mean())
    if count < min_images:
        return Estimate(None, note=f"needs {min_images} images, got {count}")
    if count <= min_images:
        value = function(*arrays)
        if not np.isfinite(value):
            return Estimate(None, note=UNDEFINED_NOTE)
        return Estimate(value, note=f"an interval needs {min_images + 1} images, got {count}")
    units = count if count <= MAX_LEAVE_ONE_OUT else BLOCK_COUNT
    included = np.arange(count) % units != np.arange(-1, units)[:, None]
    value, *rest = function(*arrays, weights=included / included.sum(1, keepdims=True)).tolist()
    left_out = np.array(rest)
    if not np.isfinite(value):
        return Estimate(None, note=UNDEFINED_NOTE)
    if not np.isfinite(left_out).all():
        return Estimate(value, note="no interval: the score depends on a single image")
    if np.ptp(left_out) <= 1e-12 * abs(value) and abs(left_out[0] - value) > 1e-9 * abs(value):
        return Estimate(value, note="no interval: every image has the same influence")
    return Estimate(value, (units - 1) * (left_out.mean() - left_out))


def confidence_interval(estimate: Estimate, *, seed: int = 0, resamples: int = 1000) -> tuple[float, float] | None:
    """Compute the 95 % interval of a score; None if there is none.

    It is a bootstrap interval; with fewer than eight units it is Student's.
    """
    if estimate.value is None or estimate.influence is None:
        return None
    if len(estimate.influence) < MIN_BOOTSTRAP_UNITS:
        return _student_interval(estimate.value, estimate.influence)
    resampled = _resampling_weights(len(estimate.influence), resamples, seed, 0) @ estimate.influence
    return _expanded_percentile_interval(estimate.value, resampled, len(estimate.influence))


def difference_interval(
    first: Estimate, second: Estimate, *, paired: bool, seed: int = 0, resamples: int = 1000
) -> tuple[float, float] | None:
    """Compute the 95 % interval of ``first - second``; None if there is none.

    It is a bootstrap interval; if either has fewer than eight units it is Student's, unpaired with Welch's degrees of
    freedom.

    Args:
        first: a score.
        second: the same score of other images.
        paired: whether the i-th images of both share prompt and seed; then both are resampled together, otherwise
            independently.
        seed: seed of the resampling.
        resamples: number of resamples.
    """
    if first.value is None or second.value is None or first.influence is None or second.influence is None:
        return None
    own, other = len(first.influence), len(second.influence)
    if min(own, other) < MIN_BOOTSTRAP_UNITS:
        parts = [first.influence - second.influence] if paired else [first.influence, second.influence]
        return _student_interval(first.value - second.value, *parts)
    if paired:
        resampled = _resampling_weights(own, resamples, seed, 0) @ (first.influence - second.influence)
    else:
        resampled = _resampling_weights(own, resamples, seed, 0) @ first.influence
        resampled = resampled - _resampling_weights(other, resamples, seed, 1) @ second.influence
    return _expanded_percentile_interval(first.value - second.value, resampled, min(own, other))


def _student_interval(centre: float, *influences: Float[np.ndarray, " _"]) -> tuple[float, float]:
    """Compute Student's interval of a sum of independent parts.

    Source: Student, Biometrika 6, 1908; degrees of freedom of two parts: Welch, Biometrika 34, 1947.
    """
    parts = [
        (float((influence**2).sum()) / (len(influence) * (len(influence) - 1)), len(influence) - 1)
        for influence in influences
    ]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return centre, centre
    degrees_of_freedom = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    margin = float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, degrees_of_freedom)) * variance**0.5
    return centre - margin, centre + margin


@functools.lru_cache(maxsize=8)
def _resampling_weights(units: int, resamples: int, seed: int, stream: int) -> Float[np.ndarray, "resamples units"]:
    """Count how often each unit is drawn, divided by their number; all scores of one size share the table."""
    generator = np.random.default_rng([seed, units, stream])
    table = generator.multinomial(units, np.full(units, 1 / units), size=resamples) / units
    table.flags.writeable = False
    return table


def _expanded_percentile_interval(
    centre: float, resampled: Float[np.ndarray, " resamples"], units: int
) -> tuple[float, float]:
    """Compute the percentile interval, expanded for few units to the width of Student's.

    Source: the expanded percentile interval of Hesterberg, arXiv 1411.5279.
    """
    tail = _expanded_tail(units)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return centre + float(low), centre + float(high)


@functools.cache
def _expanded_tail(units: int) -> float:
    """The tail probability of the expanded percentile under a normal distribution."""
    return float(special.ndtr(np.sqrt(units / (units - 1)) * stats.t.ppf((1 - CONFIDENCE_LEVEL) / 2, units - 1)))
