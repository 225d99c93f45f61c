"""How unlike each other are the drawings of one prompt or one set?"""

from __future__ import annotations

import numpy as np

from lycoris.metrics.leave_one_out_entropy import leave_out_entropies
from lycoris.metrics.weighted import Array, MetricFunction, check_min_count, l2_normalize, pair_weight, weighted_metric

MAX_REDUCED_ROWS = 8
"""So many drawings, at most, are taken out of a spectrum without decomposing it anew."""
MIN_WEIGHT_ROWS = 16
"""From so many sets on it is worth one decomposition with its vectors."""
STACK_ELEMENTS = 2**18
"""Numbers of a stack of matrices that are held at a time."""


def vendi_of_order(order: float) -> MetricFunction:
    """The Vendi score of any order: the effective number of unlike images, in [1, n]; higher is better.

    With eigenvalues l of X Xᵀ / n, X of normalised rows: exp(-sum l log l) for order 1, 1 / max l for
    infinity, and (sum l^q)^(1 / (1 - q)) otherwise. The eigenvalues are those of the smaller of X Xᵀ and Xᵀ
    X, at min(n, d)³ a row of weights; for order 1, rows that leave out a few drawings share one decomposition.

    Args:
        order: q, above 0; large orders see only what is frequent.

    Source: Friedman and Dieng, arXiv 2210.02410; Pasarkar and Dieng, arXiv 2310.12952.
    """

    @weighted_metric
    def vendi(drawings: Array, weights: Array) -> Array:
        x = l2_normalize(drawings)
        usual = np.median(weights, axis=1, keepdims=True)
        if order == 1 and len(weights) >= MIN_WEIGHT_ROWS and _few_rows_reduced(weights, usual):
            missing = 1 - weights / usual
            places = np.argsort(-missing, axis=1, kind="stable")[:, : np.count_nonzero(missing, axis=1).max()]
            return np.exp(leave_out_entropies(x, places, np.take_along_axis(missing, places, axis=1)))
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
                matrices = np.stack(
                    [_weighted_gram(gram, x, *row) for row in zip(weights[part], usual[part], strict=True)]
                )
            result[part] = _effective_number(np.linalg.eigvalsh(matrices), order)
        return result

    vendi.__doc__ = vendi_of_order.__doc__
    return vendi


vendi = vendi_of_order(1.0)


@weighted_metric
def mean_pairwise_distance(generated: Array, weights: Array) -> Array:
    """Mean of 1 - cosine over all pairs of two different drawings, in [0, 2]; higher is better.

    It is computed as the total variance of the normalised features times n / (n - 1), which is the same
    number.

    Raises:
        InputError: there is a single drawing.

    Source: the usual definition, as in the pairwise LPIPS of Zhu et al., arXiv 1711.11586.
    """
    check_min_count(2, generated, "drawings")
    x = l2_normalize(generated)
    x = x - x.mean(0)
    variance = weights @ (x**2).sum(1) - ((weights @ x) ** 2).sum(1)
    return np.maximum(variance, 0) / pair_weight(weights)


@weighted_metric
def lpips(generated: Array, weights: Array) -> Array:
    """Mean LPIPS over all pairs of two different drawings, at least 0; higher is better.

    Features are points whose squared distances are the LPIPS of their drawings, as the rater `Lpips` gives
    them.

    Raises:
        InputError: there is a single drawing.

    Source: Zhang et al., arXiv 1801.03924; its mean over pairs as a measure of diversity: arXiv 1711.11586.
    """
    check_min_count(2, generated, "drawings")
    x = generated - generated.mean(0)
    variance = weights @ (x**2).sum(1) - ((weights @ x) ** 2).sum(1)
    return 2 * np.maximum(variance, 0) / pair_weight(weights)


def _few_rows_reduced(weights: Array, full_weight: Array) -> bool:
    """Whether every row of weights is equal ones but for a few smaller ones."""
    return bool(
        (full_weight > 0).all()
        and (weights <= full_weight).all()
        and (weights < full_weight).sum(1).max() in range(1, MAX_REDUCED_ROWS + 1)
    )


def _weighted_gram(gram: Array, x: Array, weights: Array, full_weight: Array) -> Array:
    """Xᵀ W X from Xᵀ X, by the rows whose weight is not the usual one."""
    rest = np.flatnonzero(weights != full_weight)
    return full_weight * gram + (x[rest].T * (weights[rest] - full_weight)) @ x[rest]


def _effective_number(eigenvalues: Array, order: float) -> Array:
    values = np.clip(eigenvalues, 0, None)
    values = values / values.sum(-1, keepdims=True)
    if order == np.inf:
        return 1 / values.max(-1)
    if order == 1:
        return np.exp(-(values * np.log(np.where(values > 0, values, 1))).sum(-1))
    return (values**order).sum(-1) ** (1 / (1 - order))
