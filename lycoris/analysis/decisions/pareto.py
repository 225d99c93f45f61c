"""Pareto fronts, and the hypervolume that they dominate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from lycoris.errors import InputError

MAX_DIMENSIONS = 8
"""Dimensions up to which the exact hypervolume is worth its time."""


def dominates(
    points: Float[np.ndarray, "points dimensions"], others: Float[np.ndarray, "others dimensions"]
) -> Bool[np.ndarray, "points others"]:
    """Whether each point is nowhere worse than each of the others and somewhere better; larger is better."""
    one, other = points[:, None, :], others[None, :, :]
    return np.all(one >= other, axis=2) & np.any(one > other, axis=2)


def pareto_mask(points: Float[np.ndarray, "points dimensions"]) -> Bool[np.ndarray, " points"]:
    """Which points no other one dominates; larger is better. Equal points stand or fall together.

    Raises:
        InputError: a coordinate is not a number.
    """
    if np.isnan(points).any():
        raise InputError("Argument `points` must hold numbers, but one coordinate is missing.")
    return ~np.any(dominates(points, points), axis=0)


def hypervolume(
    points: Float[np.ndarray, "points dimensions"], reference: Float[np.ndarray, " dimensions"] | float = 0.0
) -> float:
    """The volume of what lies below some point and above the reference point, exactly; larger is better.

    Source: the recursion over exclusive volumes ("WFG") of While, Bradstreet and Barone, IEEE Transactions on
    Evolutionary Computation 16(1), 2012.

    Args:
        points: any, also dominated ones; a point that is not above the reference in every dimension adds nothing.
        reference: the worst there is, one number a dimension or one for all.

    Raises:
        InputError: a coordinate is not a number, or there are more than `MOST` dimensions.
    """
    if points.shape[1] > MAX_DIMENSIONS:
        raise InputError(f"Argument `points` must have at most {MAX_DIMENSIONS} dimensions, but has {points.shape[1]}.")
    above = points - reference
    above = above[(above > 0).all(axis=1)]
    return _front_volume(_sorted_front(above))


def _front_volume(points: Float[np.ndarray, "points dimensions"]) -> float:
    """Of a front above the origin, sorted by its first dimension, the largest first."""
    if points.shape[1] == 1:
        return float(points.max(initial=0.0))
    if points.shape[1] == 2:
        highest = np.maximum.accumulate(np.concatenate([[0.0], points[:, 1]]))
        return float((points[:, 0] * np.diff(highest)).sum())
    total = 0.0
    for place, point in enumerate(points):
        limited = np.minimum(points[:place], point)
        total += float(point.prod()) - _front_volume(_sorted_front(limited))
    return total


def _sorted_front(points: Float[np.ndarray, "points dimensions"]) -> Float[np.ndarray, "front dimensions"]:
    front = np.unique(points, axis=0)
    front = front[pareto_mask(front)]
    return front[np.argsort(-front[:, 0], kind="stable")]


def hypervolume_contributions(
    points: Float[np.ndarray, "points dimensions"], reference: Float[np.ndarray, " dimensions"] | float = 0.0
) -> Float[np.ndarray, " points"]:
    """How much of the :func:`hypervolume` each point dominates alone; 0 for those off the front."""
    whole = hypervolume(points, reference)
    kept = pareto_mask(points)
    rest = ~np.eye(len(points), dtype=bool)
    return np.array(
        [
            max(whole - hypervolume(points[rest[one]], reference), 0.0) if kept[one] else 0.0
            for one in range(len(points))
        ]
    )
