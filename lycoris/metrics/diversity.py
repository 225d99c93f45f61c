"""How unlike each other are the drawings of one prompt or one set?"""

from __future__ import annotations

import numpy as np

from lycoris.metrics.functional import BLOCK, Array, Rule, at_least, functional, spread, unit


def vendi_of_order(order: float) -> Rule:
    """The Vendi score of any order: the effective number of unlike images, in [1, n]; higher is better.

    With eigenvalues l of X Xᵀ / n, X of normalised rows: exp(-sum l log l) for order 1, 1 / max l for
    infinity, and (sum l^q)^(1 / (1 - q)) otherwise. The eigenvalues are those of the smaller of X Xᵀ and Xᵀ
    X, at min(n, d)³ a row of weights.

    Args:
        order: q, above 0; large orders see only what is frequent.

    Source: Friedman and Dieng, arXiv 2210.02410; Pasarkar and Dieng, arXiv 2310.12952.
    """

    @functional
    def vendi(drawings: Array, weights: Array) -> Array:
        x = unit(drawings)
        small = min(x.shape)
        result = np.empty(len(weights))
        step = max(1, BLOCK // small**2)
        wide = len(x) <= x.shape[1]
        gram = x @ x.T if wide else x.T @ x
        for start in range(0, len(weights), step):
            rows = weights[start : start + step]
            if wide:
                roots = np.sqrt(rows)
                matrices = roots[:, :, None] * gram * roots[:, None, :]
            else:
                matrices = np.stack([_weighted(gram, x, row) for row in rows])
            result[start : start + step] = _effective_number(np.linalg.eigvalsh(matrices), order)
        return result

    vendi.__doc__ = vendi_of_order.__doc__
    return vendi


vendi = vendi_of_order(1.0)


@functional
def mean_pairwise_distance(drawings: Array, weights: Array) -> Array:
    """Mean of 1 - cosine over all pairs of two different drawings, in [0, 2]; higher is better.

    It is computed as the total variance of the normalised features times n / (n - 1), which is the same
    number.

    Raises:
        InputError: there is a single drawing.

    Source: the usual definition, as in the pairwise LPIPS of Zhu et al., arXiv 1711.11586.
    """
    at_least(2, drawings, "drawings")
    x = unit(drawings)
    x = x - x.mean(0)
    variance = weights @ (x**2).sum(1) - ((weights @ x) ** 2).sum(1)
    return np.maximum(variance, 0) / spread(weights)


@functional
def lpips(drawings: Array, weights: Array) -> Array:
    """Mean LPIPS over all pairs of two different drawings, at least 0; higher is better.

    Features are points whose squared distances are the LPIPS of their drawings, as the rater `Lpips` gives
    them.

    Raises:
        InputError: there is a single drawing.

    Source: Zhang et al., arXiv 1801.03924; its mean over pairs as a measure of diversity: arXiv 1711.11586.
    """
    at_least(2, drawings, "drawings")
    x = drawings - drawings.mean(0)
    variance = weights @ (x**2).sum(1) - ((weights @ x) ** 2).sum(1)
    return 2 * np.maximum(variance, 0) / spread(weights)


def _weighted(gram: Array, x: Array, weights: Array) -> Array:
    """Xᵀ W X from Xᵀ X, by the rows whose weight is not the usual one."""
    usual = np.median(weights)
    rest = np.flatnonzero(weights != usual)
    return usual * gram + (x[rest].T * (weights[rest] - usual)) @ x[rest]


def _effective_number(eigenvalues: Array, order: float) -> Array:
    values = np.clip(eigenvalues, 0, None)
    values = values / values.sum(-1, keepdims=True)
    if order == np.inf:
        return 1 / values.max(-1)
    if order == 1:
        return np.exp(-(values * np.log(np.where(values > 0, values, 1))).sum(-1))
    return (values**order).sum(-1) ** (1 / (1 - order))
