"""The entropy of a spectrum after a few rows are taken out, without a decomposition for each time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

MIN_LOG_NODE, MAX_LOG_NODE, LOG_NODE_STEP = -28.0, 28.0, 0.6
"""The logarithms of the nodes: what lies outside and the step move an entropy by less than 1e-11."""


def leave_out_entropies(
    rows: Float[np.ndarray, "n dim"], indices: np.ndarray, fractions: Float[np.ndarray, "sets few"]
) -> Float[np.ndarray, " sets"]:
    """-sum l log l over the eigenvalues l of XᵀX, divided by their sum, with parts of some rows of X taken out.

    One decomposition XᵀX = V L Vᵀ serves all sets. With Z the rows that go, in the basis V, and D = (L + t)⁻¹, the
    resolvent of L - ZᵀZ has the trace of D plus that of (I - Z D Zᵀ)⁻¹ Z D² Zᵀ, and

        l log l = integral over t from 0 to infinity of  l / (1 + t) - l / (l + t),

    taken by the trapezoidal rule in log t, where it converges exponentially.

    Args:
        rows: X.
        places: of the rows that go, of shape [sets, few].
        shares: which part of their squares goes, each in [0, 1]; 0 leaves a row where it is.

    Source: the formula of Woodbury (Memorandum 42, Princeton, 1950); for the rule see Trefethen and Weideman, SIAM
    Review 56, 2014.
    """
    x = rows / np.sqrt(len(rows))
    if len(x) <= x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        values = np.clip(values, 0, None)
        seen = vectors * np.sqrt(values)
    else:
        values, vectors = np.linalg.eigh(x.T @ x)
        values = np.clip(values, 0, None)
        seen = x @ vectors
    gone = seen[indices] * np.sqrt(fractions)[..., None]
    nodes = np.exp(np.arange(MIN_LOG_NODE, MAX_LOG_NODE, LOG_NODE_STEP))
    inverse = 1 / (values[:, None] + nodes)
    first, second = np.triu_indices(indices.shape[1])
    pairs = gone[:, first] * gone[:, second]
    near = np.eye(indices.shape[1]) - _symmetric(pairs @ inverse, first, second)
    traces = np.trace(np.linalg.solve(near, _symmetric(pairs @ inverse**2, first, second)), axis1=-2, axis2=-1)
    lost = (gone**2).sum((1, 2))
    change = LOG_NODE_STEP * ((nodes * traces - lost[:, None] / (1 + nodes)) @ nodes)
    total = values.sum() - lost
    logs = np.log(np.where(values > 0, values, 1))
    return np.log(total) - ((values * logs).sum() + change) / total


def _symmetric(pairs: np.ndarray, first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "sets nodes few few"]:
    """Symmetric matrices from their upper triangles, [sets, pairs, nodes]."""
    few = first.max() + 1
    full = np.empty((len(pairs), pairs.shape[2], few, few))
    full[..., first, second] = full[..., second, first] = pairs.transpose(0, 2, 1)
    return full
