"""Quality: whether generated images are distributed like the dataset's images, and no-reference quality."""

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
"""Number of set sizes for the extrapolation of the Fréchet distance, from a tenth of the images to all."""
SUBSETS_PER_SIZE = 4


@weighted_metric
def frechet_distance(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the squared Fréchet distance of two Gaussians fitted to the features, at least 0; lower is better.

    |m1 - m2|² + tr C1 + tr C2 - 2 tr (C1 C2)^½ with unbiased covariances. With C = AᵀA the last trace is the sum of the
    singular values of A1 A2ᵀ, so nothing is regularized; for m references of d features and n images the cost is
    n·min(m, d)². Below some hundreds of images the value depends strongly on their number: compare sets of one size
    only, or use `kernel_distance`.

    Raises:
        InputError: there are fewer than two references or generated images.

    Source: Heusel et al., arXiv 1706.08500.
    """
    check_min_count(2, references, "references")
    check_min_count(2, generated, "generated images")
    centre = references.mean(0)
    root = _triangular_factor(references, centre, np.full(len(references), (len(references) - 1) ** -0.5))
    squared_lengths = squared_distances(generated, centre)
    x = map_row_blocks(generated, generated.shape[1], lambda rows: (rows - centre) @ root.T)
    mean_shifts, x_means = weights @ generated - centre, weights @ x
    squared_shift = (mean_shifts**2).sum(1)
    unbiased = pair_weight(weights)
    result = squared_shift + (weights @ squared_lengths - squared_shift) / unbiased + (root**2).sum()
    for index in np.flatnonzero(np.isfinite(unbiased)):
        factor = _triangular_factor(x, x_means[index], np.sqrt(weights[index] / unbiased[index]))
        result[index] -= 2 * np.linalg.svd(factor, compute_uv=False).sum()
    return np.maximum(result, 0)


@weighted_metric
def frechet_infinity(references: Array, generated: Array, weights: Array) -> Array:
    """Extrapolate the squared Fréchet distance to infinitely many generated images; lower is better.

    The distance of m images exceeds that of infinitely many by about a constant over m. It is computed for up to 15
    sizes m; the result is the intercept of a line over 1/m, which may be below 0. The content of an image, not its
    index, decides which subsets it is in, so that removing one image hardly changes them. Images of weight 0 are left
    out; other differences in weight have no effect. All references are used.

    Raises:
        InputError: there are fewer than two references or four generated images.

    Source: Chong and Forsyth, arXiv 1911.07023.
    """
    check_min_count(2, references, "references")
    check_min_count(4, generated, "generated images")
    generator = np.random.default_rng(0)
    order = (generated @ generator.normal(scale=1000, size=(generated.shape[1], SUBSETS_PER_SIZE))) % 1
    result = np.full(len(weights), np.nan)
    for index, row in enumerate(weights):
        used = np.flatnonzero(row > 0)
        sizes = np.unique(np.linspace(max(2, len(used) / 10), len(used), SUBSET_SIZES).round().astype(int))
        if len(sizes) < 2:
            continue
        orders = [used[np.argsort(order[used, column])] for column in range(SUBSETS_PER_SIZE)]
        distances = [_mean_subset_distance(references, generated, int(size), orders) for size in sizes]
        result[index] = np.polyfit(1 / sizes, distances, 1)[1]
    return result


@weighted_metric
def kernel_distance(references: Array, generated: Array, weights: Array) -> Array:
    """Estimate the squared maximum mean discrepancy with the kernel (x·y + 1)³, unbiased; lower is better.

    For features of length 1 this is the kernel of KID, (x·y / d + 1)³, on features scaled to the length sqrt(d). The
    estimate does not depend on the number of images; it is at least -8, and about 0 with either sign for two samples of
    one distribution.

    Raises:
        InputError: there are fewer than two references or generated images.

    Source: Bińkowski et al., arXiv 1801.01401; Gretton et al., JMLR 13, 2012.
    """
    check_min_count(2, references, "references")
    check_min_count(2, generated, "generated images")
    count = len(references)
    row_sums = map_row_blocks(references, count, lambda rows: _cubic_kernel(rows, references).sum(1))
    within = row_sums - _cubic_diagonal(references)
    across = map_row_blocks(generated, count, lambda rows: _cubic_kernel(rows, references).mean(1))
    all_pairs = pairwise_kernel_sum(weights, generated, _cubic_kernel)
    different_pairs = (all_pairs - weights**2 @ _cubic_diagonal(generated)) / pair_weight(weights)
    return different_pairs + within.sum() / (count * (count - 1)) - 2 * weights @ across


@weighted_metric
def mean_prediction(predictions: Array, weights: Array) -> Array:
    """Compute the mean of a network's prediction for each image; higher is better.

    Args:
        predictions: shape [images, 1].
        weights: see `lycoris.metrics.weighted`.

    Source: that of the network, see `lycoris.metrics.quality_predictors`.
    """
    return weights @ predictions.mean(1)


def _mean_subset_distance(references: Array, generated: Array, size: int, orders: list[Array]) -> float:
    """The mean Fréchet distance of the first images in each order; of all images there is one subset only."""
    if size == len(orders[0]):
        orders = orders[:1]
    return float(np.mean([frechet_distance(references, generated[order[:size]]) for order in orders]))


def _triangular_factor(features: Array, centre: Array, scale: Array) -> Array:
    """Compute A with AᵀA = XᵀX for X = scale · (features - centre), with at most min(n, d) rows, by blocks of rows."""
    width = features.shape[1]
    if len(features) <= width:
        return (features - centre) * scale[:, None]
    step = max(width, BLOCK_ELEMENTS // width)
    factor = np.zeros((0, width))
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        block = (features[rows] - centre) * scale[rows, None]
        factor = np.asarray(np.linalg.qr(np.concatenate([factor, block]), mode="r"))
    return factor


def _cubic_diagonal(x: Array) -> Array:
    return ((x**2).sum(1) + 1) ** 3


def _cubic_kernel(x: Array, y: Array) -> Array:
    return (x @ y.T + 1) ** 3
