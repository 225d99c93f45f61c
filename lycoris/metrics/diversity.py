"""Diversity: how different the generated images of one prompt or one set are from each other."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.leave_one_out_entropy import leave_out_entropies
from lycoris.metrics.weighted import Array, MetricFunction, check_min_count, l2_normalize, pair_weight, weighted_metric

MAX_REDUCED_ROWS = 8
"""Up to so many images are removed from a spectrum without a new decomposition."""
MIN_WEIGHT_ROWS = 16
"""With fewer rows of weights one decomposition with eigenvectors does not pay off."""
STACK_ELEMENTS = 2**18
"""Elements of a stack of matrices that are in memory at a time."""


def vendi_of_order(order: float) -> MetricFunction:
    """Build the Vendi score of an order: the effective number of different images, in [1, n]; higher is better.

    With eigenvalues l of X Xᵀ / n, X of normalized rows: exp(-sum l log l) for order 1, 1 / max l for infinity, and
    (sum l^q)^(1 / (1 - q)) otherwise. The eigenvalues are those of the smaller of X Xᵀ and Xᵀ X, at min(n, d)³ per row
    of weights; for order 1, rows that remove a few images share one decomposition.

    Args:
        order: q, above 0; large orders are sensitive to frequent images only.

    Source: Friedman and Dieng, arXiv 2210.02410; Pasarkar and Dieng, arXiv 2310.12952.
    """

    @weighted_metric
    def vendi(generated: Array, weights: Array) -> Array:
        x = l2_normalize(generated)
        full_weight = np.median(weights, axis=1, keepdims=True)
        if order == 1 and len(weights) >= MIN_WEIGHT_ROWS and _few_rows_reduced(weights, full_weight):
            removed = 1 - weights / full_weight
            indices = np.argsort(-removed, axis=1, kind="stable")[:, : np.count_nonzero(removed, axis=1).max()]
            return np.exp(leave_out_entropies(x, indices, np.take_along_axis(removed, indices, axis=1)))
        wide = len(x) <= x.shape[1]
        gram = x @ x.T if wide else x.T @ x
        result = np.empty(len(weights))
        step = max(1, STACK_ELEMENTS // len(gram) ** 2)
        for start in range(0, len(weights), step):
            part = slice(start, start + step)
            if wide:
                roots = np.sqrt(weights[part])
                matrices = roots[:, :, None] * gram * roots[:, None, :]
            else:
                rows = zip(weights[part], full_weight[part], strict=True)
                matrices = np.stack([_weighted_gram(gram, x, *row) for row in rows])
            result[part] = _effective_number(np.linalg.eigvalsh(matrices), order)
        return result

    vendi.__doc__ = vendi_of_order.__doc__
    return vendi


vendi = vendi_of_order(1.0)


@weighted_metric
def quality_vendi(generated: Array, weights: Array) -> Array:
    """Compute the Vendi score times the mean quality of the images, in [0, n]; higher is better.

    The direction of a row is the image's feature, its length the image's quality in (0, 1]. Noise is diverse, and does
    not count here.

    Source: Nguyen and Dieng, arXiv 2405.02449.
    """
    return vendi(generated, weights=weights) * (weights @ np.linalg.norm(generated, axis=1))


@weighted_metric
def mean_pairwise_distance(generated: Array, weights: Array) -> Array:
    """Compute the mean of 1 - cosine over all pairs of different images, in [0, 2]; higher is better.

    It equals the total variance of the normalized features times n / (n - 1).

    Raises:
        InputError: there is a single image.

    Source: the usual definition, as in the pairwise LPIPS of Zhu et al., arXiv 1711.11586.
    """
    check_min_count(2, generated, "generated images")
    return _pairwise_variance(l2_normalize(generated), weights)


@weighted_metric
def lpips(generated: Array, weights: Array) -> Array:
    """Compute the mean LPIPS over all pairs of different images, at least 0; higher is better.

    Features are points whose squared distances are the LPIPS of their images, from `quality_predictors.Lpips`.

    Raises:
        InputError: there is a single image.

    Source: Zhang et al., arXiv 1801.03924; its mean over pairs as a measure of diversity: arXiv 1711.11586.
    """
    check_min_count(2, generated, "generated images")
    return 2 * _pairwise_variance(generated, weights)


def _pairwise_variance(x: Array, weights: Array) -> Array:
    """Half the mean squared distance over all pairs of different rows."""
    x = x - x.mean(0)
    variance = weights @ (x**2).sum(1) - ((weights @ x) ** 2).sum(1)
    return np.maximum(variance, 0) / pair_weight(weights)


def _few_rows_reduced(weights: Array, full_weight: Array) -> bool:
    """Whether each row of weights is constant but for a few smaller ones."""
    reduced = weights < full_weight
    return bool(
        (full_weight > 0).all()
        and (weights <= full_weight).all()
        and reduced.sum(1).max() in range(1, MAX_REDUCED_ROWS + 1)
    )


def _weighted_gram(gram: Array, x: Array, weights: Array, full_weight: Array) -> Array:
    """Compute Xᵀ W X from Xᵀ X, by the rows that do not have the full weight."""
    reduced = np.flatnonzero(weights != full_weight)
    return full_weight * gram + (x[reduced].T * (weights[reduced] - full_weight)) @ x[reduced]


def _effective_number(eigenvalues: Array, order: float) -> Array:
    values = np.clip(eigenvalues, 0, None)
    values = values / values.sum(-1, keepdims=True)
    if order == np.inf:
        return 1 / values.max(-1)
    if order == 1:
        return np.exp(-(values * np.log(np.where(values > 0, values, 1))).sum(-1))
    return (values**order).sum(-1) ** (1 / (1 - order))
