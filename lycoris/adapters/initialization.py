"""How the factors of a LoRA start when not at zero, and their change since then, which is what acts."""

from __future__ import annotations

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import TargetLayer
from lycoris.adapters.structures.structures import LowRank

STARTS = ("zero", "orthogonal", "svd")


def orthogonal_factors(site: TargetLayer, rank: int) -> tuple[Tensor, Tensor]:
    """Random factors with orthonormal columns and rows, [out, rank] and [rank, row].

    Every rank then has a direction of its own (as in T-LoRA, arXiv 2507.05964).
    """
    up, down = site.normal(site.shape[0], rank).detach(), site.normal(site.row_size, rank).detach()
    if up.device.type == "meta":
        return up, down.t()
    return torch.linalg.qr(up)[0], torch.linalg.qr(down)[0].t()


def pissa_factors(site: TargetLayer, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """Factors with scale · up · down = the weight's `rank` largest singular parts, [out, rank] and [rank, row].

    PiSSA (Meng et al. 2024, arXiv 2404.02948), each singular value shared evenly between the two.
    """
    if site.uninitialized or site.weight.device.type == "meta":
        weight = torch.empty(site.shape[0], site.row_size, device="meta")
        return weight[:, :rank], weight[:rank]
    site.require_weight("An SVD start")
    weight = site.weight.detach().flatten(1)
    weight = weight if weight.dtype == torch.float64 else weight.float()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = (values[:rank] / scale).sqrt()
    return left[:, :rank] * root, root.view(-1, 1) * right[:rank]


def randomized_svd(matrix: Tensor, test: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nearly the largest singular parts of a matrix, [out, rank], [rank] and [rank, row].

    Subspace iteration (Halko, Martinsson and Tropp 2011, arXiv 0909.4061), which sees no global randomness.

    Args:
        matrix: [out, row].
        test: random vectors, [row, at least rank].
        rank: how many.
    """
    basis = torch.linalg.qr(matrix @ test)[0]
    for _ in range(2):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.t() @ basis)[0])[0]
    left, values, right = torch.linalg.svd(basis.t() @ matrix, full_matrices=False)
    return (basis @ left)[:, :rank], values[:rank], right[:rank]


def product_delta(up: Tensor, down: Tensor, start_up: Tensor, start_down: Tensor, scale: float) -> LowRank:
    """scale · (up · down - start_up · start_down), written so that nothing large cancels and the start is exactly 0.

    Args:
        up, start_up: [out, rank].
        down, start_down: [rank, in / groups, *kernel].
        scale: of the whole.
    """
    return LowRank(torch.cat([up - start_up, start_up], 1), torch.cat([down, down - start_down]), scale)
