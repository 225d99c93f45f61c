"""Two sets as two clouds: how much of each lies within the other, by balls around nearest neighbours."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, check_min_count, map_row_blocks, weighted_metric

NEIGHBOUR_COUNT = 3
"""The ball around an image reaches to its third nearest of the same set."""


@weighted_metric
def precision(references: Array, generated: Array, weights: Array) -> Array:
    """The part of the drawings that lies in the ball of any reference, in [0, 1]; higher is better.

    Raises:
        InputError: there are fewer than four references.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    check_min_count(NEIGHBOUR_COUNT + 1, references, "references")
    return weights @ _is_covered(generated, references)


@weighted_metric
def recall(references: Array, generated: Array, weights: Array) -> Array:
    """The part of the references that lies in the ball of any drawing, in [0, 1]; higher is better.

    Drawings of weight 0 are left out; otherwise weights do not matter, as a ball is there or not.

    Raises:
        InputError: there are fewer than four drawings.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    check_min_count(NEIGHBOUR_COUNT + 1, generated, "drawings")
    result = np.full(len(weights), np.nan)
    for index, row in enumerate(weights):
        kept = np.flatnonzero(row > 0)
        if len(kept) > NEIGHBOUR_COUNT:
            result[index] = _is_covered(references, generated[kept]).mean()
    return result


def _is_covered(points: Array, centres: Array) -> Array:
    """Whether each point lies in the ball of any centre, as 0 or 1; a centre is the nearest of all to itself."""
    count = len(centres)
    reach = map_row_blocks(
        centres,
        count,
        lambda rows: np.partition(_squared_distances(rows, centres), NEIGHBOUR_COUNT)[:, NEIGHBOUR_COUNT],
    )
    return map_row_blocks(
        points, count, lambda rows: np.any(_squared_distances(rows, centres) <= reach, axis=1)
    ).astype(np.float64)


def _squared_distances(x: Array, y: Array) -> Array:
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)
