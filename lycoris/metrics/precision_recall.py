"""Precision and recall of two image sets, by balls around nearest neighbours."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, check_min_count, map_row_blocks, squared_distance_matrix, weighted_metric

NEIGHBOUR_COUNT = 3
"""The ball around an image reaches to its third nearest neighbour in the same set."""
DENSITY_NEIGHBOUR = 5
"""For density and coverage, to its fifth."""


@weighted_metric
def precision(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the fraction of the generated images in the ball of any reference, in [0, 1]; higher is better.

    Raises:
        InputError: there are fewer than four references.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    check_min_count(NEIGHBOUR_COUNT + 1, references, "references")
    return weights @ _is_covered(generated, references)


@weighted_metric
def recall(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the fraction of the references in the ball of any generated image, in [0, 1]; higher is better.

    Images of weight 0 are left out; other differences in weight have no effect, because a ball exists or does not.

    Raises:
        InputError: there are fewer than four generated images.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    check_min_count(NEIGHBOUR_COUNT + 1, generated, "generated images")
    result = np.full(len(weights), np.nan)
    for index, row in enumerate(weights):
        used = np.flatnonzero(row > 0)
        if len(used) > NEIGHBOUR_COUNT:
            result[index] = _is_covered(references, generated[used]).mean()
    return result


@weighted_metric
def density(references: Array, generated: Array, weights: Array) -> Array:
    """Compute how many balls of references an image is in, over their expected number, at least 0; higher is better.

    A ball reaches to the fifth nearest neighbour of its reference, not included. Unlike `precision` it counts the
    balls, so one outlier among the references, whose ball is large, has little influence; it may exceed 1.

    Raises:
        InputError: there are fewer than six references.

    Source: Naeem et al., arXiv 2002.09797.
    """
    check_min_count(DENSITY_NEIGHBOUR + 1, references, "references")
    return weights @ (_in_balls(references, generated).sum(1) / DENSITY_NEIGHBOUR)


@weighted_metric
def coverage(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the fraction of the references whose ball holds a generated image, in [0, 1]; higher is better.

    The balls are those of `density`. Images of weight 0 are left out; other differences in weight have no effect.

    Raises:
        InputError: there are fewer than six references.

    Source: Naeem et al., arXiv 2002.09797.
    """
    check_min_count(DENSITY_NEIGHBOUR + 1, references, "references")
    return ((weights > 0).astype(np.float64) @ _in_balls(references, generated) > 0).mean(1)


def _in_balls(references: Array, generated: Array) -> Array:
    """Return 1 where a generated image, by row, is in the ball of a reference, by column; otherwise 0."""
    count = len(references)
    radius = map_row_blocks(references, count, lambda rows: _nearest(rows, references, DENSITY_NEIGHBOUR))
    return map_row_blocks(generated, count, lambda rows: squared_distance_matrix(rows, references) < radius).astype(
        np.float64
    )


def _nearest(points: Array, centres: Array, neighbour: int) -> Array:
    """The squared distance of each centre's neighbour of this rank; each centre is its own of rank 0."""
    return np.partition(squared_distance_matrix(points, centres), neighbour)[:, neighbour]


def _is_covered(points: Array, centres: Array) -> Array:
    """Return 1 for each point in the ball of any centre, otherwise 0; each centre is its own nearest neighbour."""
    count = len(centres)
    radius = map_row_blocks(centres, count, lambda rows: _nearest(rows, centres, NEIGHBOUR_COUNT))

    def inside(rows: Array) -> Array:
        return np.any(squared_distance_matrix(rows, centres) <= radius, axis=1)

    return map_row_blocks(points, count, inside).astype(np.float64)
