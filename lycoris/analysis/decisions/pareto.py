"""Pareto fronts and the hypervolume that they dominate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from lycoris.errors import InputError

MAX_DIMENSIONS = 8
"""The most dimensions in which the exact hypervolume is fast enough."""


def dominates(
    points: Float[np.ndarray, "points dimensions"], others: Float[np.ndarray, "others dimensions"]
) -> Bool[np.ndarray, "points others"]:
    """Whether each point is nowhere worse than each other point and somewhere better; larger is better."""
    one, other = points[:, None, :], others[None, :, :]
    return np.all(one >= other, axis=2) & np.any(one > other, axis=2)


def pareto_mask(points: Float[np.ndarray, "points dimensions"]) -> Bool[np.ndarray, " points"]:
    """Which points no other point dominates; larger is better. Equal points do not dominate each other.

    Raises:
        InputError: A coordinate is NaN.
    """
    if np.isnan(points).any():
        raise InputError("Argument `points` must have no missing coordinates, but one is NaN.")
    return ~np.any(dominates(points, points), axis=0)


def hypervolume(
    points: Float[np.ndarray, "points dimensions"], reference: Float[np.ndarray, " dimensions"] | float = 0.0
) -> float:
    """The exact volume below some point and above the reference point; larger is better.

    Source: the recursion over exclusive volumes ("WFG") of While, Bradstreet and Barone, IEEE Transactions on
    Evolutionary Computation 16(1), 2012.

    Args:
        points: dominated ones included; a point that is not above the reference in every dimension adds nothing.
        reference: the worst value, one per dimension or one for all.

    Raises:
        InputError: A coordinate is NaN, or there are more than `MAX_DIMENSIONS` dimensions.
    """
    if points.shape[1] > MAX_DIMENSIONS:
        raise InputError(f"Argument `points` must have at most {MAX_DIMENSIONS} dimensions, but has {points.shape[1]}.")
    above = points - reference
    above = above[(above > 0).all(axis=1)]
    return _front_volume(_sorted_front(above))


def _front_volume(points: Float[np.ndarray, "points dimensions"]) -> float:
    """The hypervolume of a front above the origin, sorted by its first dimension, the largest first."""
    if points.shape[1] == 1:
        return float(points.max(initial=0.0))
    if points.shape[1] == 2:
        highest = np.maximum.accumulate(np.concatenate([[0.0], points[:, 1]]))
        return float((points[:, 0] * np.diff(highest)).sum())
    total = 0.0
    for index, point in enumerate(points):
        limited = np.minimum(points[:index], point)
        total += float(point.prod()) - _front_volume(_sorted_front(limited))
    return total


def _sorted_front(points: Float[np.ndarray, "points dimensions"]) -> Float[np.ndarray, "front dimensions"]:
    front = np.unique(points, axis=0)
    front = front[pareto_mask(front)]
    return front[np.argsort(-front[:, 0], kind="stable")]


def hypervolume_contributions(
    points: Float[np.ndarray, "points dimensions"], reference: Float[np.ndarray, " dimensions"] | float = 0.0
) -> Float[np.ndarray, " points"]:
    """How much of the :func:`hypervolume` each point alone dominates; 0 for dominated points."""
    total = hypervolume(points, reference)
    front = pareto_mask(points)
    rest = ~np.eye(len(points), dtype=bool)
    return np.array(
        [
            max(total - hypervolume(points[rest[index]], reference), 0.0) if front[index] else 0.0
            for index in range(len(points))
        ]
    )
