"""Do the drawings look like pictures of this kind at all? Distances between distributions of features."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import (
    BLOCK_ELEMENTS,
    Array,
    check_min_count,
    map_row_blocks,
    pair_weight,
    pairwise_kernel_sum,
    squared_distances,
    weighted_metric,
)

SUBSET_SIZES = 15
"""Sizes of sets through which the Fréchet distance is extrapolated, from a tenth of the drawings to all."""
SUBSETS_PER_SIZE = 4
"""Subsets of each size."""


@weighted_metric
def frechet_distance(references: Array, generated: Array, weights: Array) -> Array:
    """Squared Fréchet distance of two Gaussians fitted to the features, at least 0; lower is better.

    |m1 - m2|² + tr C1 + tr C2 - 2 tr (C1 C2)^½ with unbiased covariances. With C = AᵀA the last trace is
    the sum of the singular values of A1 A2ᵀ, so nothing is regularised; for m references of d features and n
    drawings the cost is n·min(m, d)². Below some hundreds of images the value depends strongly on their
    number: compare sets of one size only, or use `kernel_distance`.

    Raises:
        InputError: there are fewer than two references or drawings.

    Source: Heusel et al., arXiv 1706.08500.
    """
    check_min_count(2, references, "references")
    check_min_count(2, generated, "drawings")
    centre = references.mean(0)
    root = _triangular_factor(references, centre, np.full(len(references), (len(references) - 1) ** -0.5))
    lengths = squared_distances(generated, centre)
    x = map_row_blocks(generated, generated.shape[1], lambda rows: (rows - centre) @ root.T)
    means, shifts = weights @ generated - centre, weights @ x
    apart = (means**2).sum(1)
    rest = pair_weight(weights)
    result = apart + (weights @ lengths - apart) / rest + (root**2).sum()
    for index in np.flatnonzero(np.isfinite(rest)):
        seen = _triangular_factor(x, shifts[index], np.sqrt(weights[index] / rest[index]))
        result[index] -= 2 * np.linalg.svd(seen, compute_uv=False).sum()
    return np.maximum(result, 0)


@weighted_metric
def frechet_infinity(references: Array, generated: Array, weights: Array) -> Array:
    """Squared Fréchet distance extrapolated to infinitely many drawings; lower is better.

    The distance of m drawings is larger than that of infinitely many by about a constant over m. It is taken
    for up to 15 sizes m, the intercept of a line through it over 1/m is the result, which may be below 0.
    Which drawings are in a subset is drawn by what they look like, not by their place, and hardly changes
    when one is left out. Drawings of weight 0 are left out; otherwise weights do not matter. The references
    are taken as they are.

    Raises:
        InputError: there are fewer than two references or four drawings.

    Source: Chong and Forsyth, arXiv 1911.07023.
    """
    check_min_count(2, references, "references")
    check_min_count(4, generated, "drawings")
    generator = np.random.default_rng(0)
    order = (generated @ generator.normal(scale=1000, size=(generated.shape[1], SUBSETS_PER_SIZE))) % 1
    result = np.full(len(weights), np.nan)
    for index, row in enumerate(weights):
        kept = np.flatnonzero(row > 0)
        sizes = np.unique(np.linspace(max(2, len(kept) / 10), len(kept), SUBSET_SIZES).round().astype(int))
        if len(sizes) < 2:
            continue
        subsets = [kept[np.argsort(order[kept, each])] for each in range(SUBSETS_PER_SIZE)]
        distances = [
            np.mean(
                [
                    frechet_distance(references, generated[subset[:size]])
                    for subset in subsets[: _subset_count(size, kept)]
                ]
            )
            for size in sizes
        ]
        result[index] = np.polyfit(1 / sizes, distances, 1)[1]
    return result


@weighted_metric
def kernel_distance(references: Array, generated: Array, weights: Array) -> Array:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y + 1)³; lower is better.

    For features of length 1 this is the kernel of KID, (x·y / d + 1)³, on features brought to the length
    sqrt(d). The estimate does not depend on the number of images; it is at least -8 and about 0, of either
    sign, for two samples of one distribution.

    Raises:
        InputError: there are fewer than two references or drawings.

    Source: Bińkowski et al., arXiv 1801.01401; Gretton et al., JMLR 13, 2012.
    """
    check_min_count(2, references, "references")
    check_min_count(2, generated, "drawings")
    count = len(references)
    within = map_row_blocks(references, count, lambda rows: _cubic_kernel(rows, references).sum(1)) - _cubic_diagonal(
        references
    )
    across = map_row_blocks(generated, count, lambda rows: _cubic_kernel(rows, references).mean(1))
    unlike = (
        pairwise_kernel_sum(weights, generated, _cubic_kernel) - weights**2 @ _cubic_diagonal(generated)
    ) / pair_weight(weights)
    return unlike + within.sum() / (count * (count - 1)) - 2 * weights @ across


@weighted_metric
def mean_prediction(predictions: Array, weights: Array) -> Array:
    """Mean of what a network says of each drawing alone; higher is better.

    Args:
        ratings: shape [drawings, 1].

    Source: that of the network, see `lycoris.metrics.quality_predictors`.
    """
    return weights @ predictions.mean(1)


def _subset_count(size: int, kept: Array) -> int:
    """How many subsets of a size there are to look at: one, where it is all of them."""
    return 1 if size == len(kept) else SUBSETS_PER_SIZE


def _triangular_factor(features: Array, centre: Array, scale: Array) -> Array:
    """A with AᵀA = XᵀX for the rows X = scale · (features - centre), of at most min(n, d) rows, by blocks of rows."""
    width = features.shape[1]
    if len(features) <= width:
        return (features - centre) * scale[:, None]
    step = max(width, BLOCK_ELEMENTS // width)
    found = np.zeros((0, width))
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        block = (features[rows] - centre) * scale[rows, None]
        found = np.asarray(np.linalg.qr(np.concatenate([found, block]), mode="r"))
    return found


def _cubic_diagonal(x: Array) -> Array:
    return ((x**2).sum(1) + 1) ** 3


def _cubic_kernel(x: Array, y: Array) -> Array:
    return (x @ y.T + 1) ** 3
