"""Nonzero initial factors of a LoRA, and ΔW as the product less its initial value."""

from __future__ import annotations

import torch
from torch import Tensor

from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import LowRank

STARTS = ("zero", "orthogonal", "svd")
OVERSAMPLING, ITERATIONS = 10, 4
"""Random vectors beyond the rank, and passes over the weight, of an approximate decomposition."""
EXACT_BELOW = 4
"""A weight whose shorter side is less than this many times the number of vectors is decomposed exactly."""


def orthogonal_factors(target: TargetLayer, rank: int) -> tuple[Tensor, Tensor]:
    """Create random factors with orthonormal columns and rows, so that every rank has a direction of its own.

    As in T-LoRA (Soboleva et al. 2025, arXiv 2507.05964).

    Args:
        target: the layer; its generator gives the random numbers.
        rank: at most the shorter side of the weight.

    Returns:
        up [out, rank] and down [rank, row].
    """
    up, down = target.normal(target.shape[0], rank).detach(), target.normal(target.row_size, rank).detach()
    if up.device.type == "meta":
        return up, down.t()
    return torch.linalg.qr(up)[0], torch.linalg.qr(down)[0].t()


def pissa_factors(target: TargetLayer, rank: int, scale: float) -> tuple[Tensor, Tensor, float]:
    """Create factors with scale · up · down = the weight's `rank` largest singular components.

    PiSSA (Meng et al. 2024, arXiv 2404.02948): up = U·√(S / scale) and down = √(S / scale)·Vᵀ. A weight whose shorter
    side is many times the rank is decomposed by subspace iteration, from random vectors that are the same for each
    seed; others exactly.

    Args:
        target: the layer, whose weight is decomposed in float32, or in float64 where it is float64.
        rank: at most the shorter side of the weight.
        scale: of the product.

    Returns:
        up [out, rank], down [rank, row], and the error: the largest ‖W·v - s·u‖ / s of the components, 0 if exact.

    Raises:
        InputError: the weight is quantised.
    """
    if target.uninitialized or target.weight.device.type == "meta":
        weight = torch.empty(target.shape[0], target.row_size, device="meta")
        return weight[:, :rank], weight[:rank], 0.0
    target.require_weight("An SVD start")
    weight = target.weight.detach().flatten(1)
    weight = weight if weight.dtype == torch.float64 else weight.float()
    vectors, error = rank + OVERSAMPLING, 0.0
    if vectors * EXACT_BELOW > min(weight.shape):
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
    else:
        random = torch.randn(weight.shape[1], vectors, generator=torch.Generator().manual_seed(0)).to(weight)
        left, values, right = randomized_svd(weight, random, rank, iterations=ITERATIONS)
        residual = (weight @ right.t() - left * values).norm(dim=0)
        error = float((residual / values.clamp_min(torch.finfo(values.dtype).tiny)).max())
    root = (values[:rank] / scale).sqrt()
    return left[:, :rank] * root, root.view(-1, 1) * right[:rank], error


def randomized_svd(matrix: Tensor, test: Tensor, rank: int, iterations: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Approximate the largest singular components of a matrix by subspace iteration.

    Halko, Martinsson and Tropp 2011, arXiv 0909.4061. Uses no global randomness.

    Args:
        matrix: [out, row].
        test: random vectors, [row, at least rank].
        rank: number of components.
        iterations: passes over the matrix and its transpose after the first.

    Returns:
        Left vectors [out, rank], values [rank] and right vectors [rank, row].
    """
    basis = torch.linalg.qr(matrix @ test)[0]
    for _ in range(iterations):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.t() @ basis)[0])[0]
    left, values, right = torch.linalg.svd(basis.t() @ matrix, full_matrices=False)
    return (basis @ left)[:, :rank], values[:rank], right[:rank]


def product_delta(up: Tensor, down: Tensor, start_up: Tensor, start_down: Tensor, scale: float | Tensor) -> LowRank:
    """Return scale · (up · down - start_up · start_down) as one low rank of twice the rank.

    It is written as (up - start_up) · down + start_up · (down - start_down): nothing large cancels, and the initial
    value is exactly 0.

    Args:
        up, start_up: [out, rank].
        down, start_down: [rank, in / groups, *kernel].
        scale: of the whole.
    """
    return LowRank(torch.cat([up - start_up, start_up], 1), torch.cat([down, down - start_down]), scale)
