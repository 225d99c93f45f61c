"""The entropy of a spectrum after a few rows are removed, without a decomposition for each removal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

MIN_LOG_NODE, MAX_LOG_NODE, LOG_NODE_STEP = -28.0, 28.0, 0.6
"""The logarithms of the integration nodes; truncation and step change an entropy by less than 1e-11."""


def leave_out_entropies(
    rows: Float[np.ndarray, "n dim"], indices: Int[np.ndarray, "sets few"], fractions: Float[np.ndarray, "sets few"]
) -> Float[np.ndarray, " sets"]:
    """Compute -sum l log l over the normalized eigenvalues l of XᵀX, after parts of some rows of X are removed.

    One decomposition XᵀX = V L Vᵀ serves all sets. With Z the removed rows in the basis V, and D = (L + t)⁻¹, the
    resolvent of L - ZᵀZ has the trace of D plus that of (I - Z D Zᵀ)⁻¹ Z D² Zᵀ, and

        l log l = integral over t from 0 to infinity of  l / (1 + t) - l / (l + t),

    by the trapezoidal rule in log t, which converges exponentially.

    Args:
        rows: X.
        indices: the rows to remove, per set.
        fractions: the fraction of each row's square to remove, in [0, 1]; 0 leaves the row unchanged.

    Source: the formula of Woodbury (Memorandum 42, Princeton, 1950); for the rule see Trefethen and Weideman, SIAM
    Review 56, 2014.
    """
    x = rows / np.sqrt(len(rows))
    if len(x) <= x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        values = np.clip(values, 0, None)
        in_basis = vectors * np.sqrt(values)
    else:
        values, vectors = np.linalg.eigh(x.T @ x)
        values = np.clip(values, 0, None)
        in_basis = x @ vectors
    removed = in_basis[indices] * np.sqrt(fractions)[..., None]
    nodes = np.exp(np.arange(MIN_LOG_NODE, MAX_LOG_NODE, LOG_NODE_STEP))
    inverse = 1 / (values[:, None] + nodes)
    first, second = np.triu_indices(indices.shape[1])
    pairs = removed[:, first] * removed[:, second]
    capacitance = np.eye(indices.shape[1]) - _symmetric(pairs @ inverse, first, second)
    traces = np.trace(np.linalg.solve(capacitance, _symmetric(pairs @ inverse**2, first, second)), axis1=-2, axis2=-1)
    removed_trace = (removed**2).sum((1, 2))
    change = LOG_NODE_STEP * ((nodes * traces - removed_trace[:, None] / (1 + nodes)) @ nodes)
    total = values.sum() - removed_trace
    logs = np.log(np.where(values > 0, values, 1))
    return np.log(total) - ((values * logs).sum() + change) / total


def _symmetric(
    pairs: Float[np.ndarray, "sets pairs nodes"], first: np.ndarray, second: np.ndarray
) -> Float[np.ndarray, "sets nodes few few"]:
    """Build symmetric matrices from their upper triangles."""
    few = first.max() + 1
    full = np.empty((len(pairs), pairs.shape[2], few, few))
    full[..., first, second] = full[..., second, first] = pairs.transpose(0, 2, 1)
    return full
