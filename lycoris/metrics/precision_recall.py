"""Two sets as two clouds: how much of each lies within the other, by balls around nearest neighbours."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, at_least, functional, rowwise

NEIGHBOURS = 3
"""The ball around an image reaches to its third nearest of the same set."""


@functional
def precision(references: Array, drawings: Array, weights: Array) -> Array:
    """The part of the drawings that lies in the ball of any reference, in [0, 1]; higher is better.

    Raises:
        InputError: there are fewer than four references.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    at_least(NEIGHBOURS + 1, references, "references")
    return weights @ _covered(drawings, references)


@functional
def recall(references: Array, drawings: Array, weights: Array) -> Array:
    """The part of the references that lies in the ball of any drawing, in [0, 1]; higher is better.

    Drawings of weight 0 are left out; otherwise weights do not matter, as a ball is there or not.

    Raises:
        InputError: there are fewer than four drawings.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    at_least(NEIGHBOURS + 1, drawings, "drawings")
    result = np.full(len(weights), np.nan)
    for index, row in enumerate(weights):
        kept = np.flatnonzero(row > 0)
        if len(kept) > NEIGHBOURS:
            result[index] = _covered(references, drawings[kept]).mean()
    return result


def _covered(points: Array, centres: Array) -> Array:
    """Whether each point lies in the ball of any centre, as 0 or 1; a centre is the nearest of all to itself."""
    count = len(centres)
    reach = rowwise(centres, count, lambda rows: np.partition(_squared(rows, centres), NEIGHBOURS)[:, NEIGHBOURS])
    return rowwise(points, count, lambda rows: np.any(_squared(rows, centres) <= reach, axis=1)).astype(np.float64)


def _squared(x: Array, y: Array) -> Array:
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)
