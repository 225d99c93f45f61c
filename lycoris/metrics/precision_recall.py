"""Precision and recall of two image sets, by balls around nearest neighbours."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, check_min_count, map_row_blocks, squared_distance_matrix, weighted_metric

NEIGHBOUR_COUNT = 3
"""The ball around an image reaches to its third nearest neighbour in the same set."""


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


def _is_covered(points: Array, centres: Array) -> Array:
    """Return 1 for each point in the ball of any centre, otherwise 0; each centre is its own nearest neighbour."""
    count = len(centres)

    def radii(rows: Array) -> Array:
        return np.partition(squared_distance_matrix(rows, centres), NEIGHBOUR_COUNT)[:, NEIGHBOUR_COUNT]

    radius = map_row_blocks(centres, count, radii)

    def inside(rows: Array) -> Array:
        return np.any(squared_distance_matrix(rows, centres) <= radius, axis=1)

    return map_row_blocks(points, count, inside).astype(np.float64)
