"""Low-rank approximations of a weight update: exact by its structure, else by singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.adapters.structures import Hadamard, Kronecker, LowRank, Structure, Tucker
from lycoris.errors import InputError


@dataclass(frozen=True)
class LayerFit:
    """Distance between a layer's new update and the one that it approximates.

    Attributes:
        layer: the layer's name.
        rank: rank of the new update; None where it has none.
        norm: Frobenius norm of the original update.
        distance: Frobenius norm of the difference.
    """

    layer: str
    rank: int | None
    norm: float
    distance: float

    @property
    def error(self) -> float:
        """Relative error distance / norm; 0 where both are 0."""
        return self.distance / self.norm if self.norm else (math.inf if self.distance else 0.0)


@dataclass(frozen=True)
class ApproximationReport:
    """Distance between a new adapter and what it was made from.

    Attributes:
        layers: one fit per layer.
        left_out: what the new adapter cannot hold or was not asked to: norm layers, biases.
        notes: programs that do not read the new file, a sentence each.
    """

    layers: tuple[LayerFit, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """Relative error over all layers: √(Σ distance² / Σ norm²)."""
        norm, distance = (math.hypot(*(getattr(fit, name) for fit in self.layers)) for name in ("norm", "distance"))
        return LayerFit("", None, norm, distance).error

    def __str__(self) -> str:
        """One line per layer with rank and relative error, and one for all."""
        lines = [f"{fit.error:10.3e}  rank {fit.rank or '-':<5} {fit.layer}" for fit in self.layers]
        lines += [f" left out             {name}" for name in self.left_out]
        return "\n".join([*lines, f"{self.error:10.3e}  relative error of {len(self.layers)} layers"])


def to_low_rank(structure: Structure) -> LowRank:
    """Return a ΔW as one low rank of scale 1 in float64: by its structure where that is smaller, else by an SVD."""
    product = exact_factors(structure)
    if product is None or 2 * product.up.shape[1] > min(product.up.shape[0], product.down[0].numel()):
        return truncated_svd(structure.dense())
    return product


def exact_factors(structure: Structure) -> LowRank | None:
    """Return a ΔW as one low rank of scale 1 in float64 by its structure; None where the structure has none."""
    if isinstance(structure, Hadamard):
        structure = structure.as_low_rank()
    if isinstance(structure, LowRank):
        up, down = structure.up, structure.down
    elif isinstance(structure, Tucker):
        up = structure.up
        down = torch.einsum("rs...,si->ri...", structure.mid.double(), structure.down.double())
    elif isinstance(structure, Kronecker):
        outer, inner = truncated_svd(structure.outer), truncated_svd(structure.inner)
        up = torch.einsum("ai,cj->acij", outer.up, inner.up).flatten(0, 1).flatten(1, 2)
        down = torch.einsum("ip,jq...->ijpq...", outer.down, inner.down).flatten(0, 1).flatten(1, 2)
    else:
        return None
    return LowRank(up.double() * structure.scale, down.double())


def truncated_svd(matrix: Tensor, rank: int | None = None, energy: float | None = None) -> LowRank:
    """Return the nearest low rank of a weight, in float64 (Eckart and Young 1936).

    Args:
        matrix: [out, in, *kernel].
        rank: at most this many.
        energy: as few as keep this share, in (0, 1], of the squared singular values. With neither argument, every
            singular value above rounding.
    """
    flat = matrix.double().flatten(1)
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    return _balanced_factors(left, values, right, matrix.shape, _rank_to_keep(values, max(flat.shape), rank, energy))


def truncate(product: LowRank, rank: int | None = None, energy: float | None = None) -> LowRank:
    """Return `truncated_svd` of a product of two thin matrices, without building the product."""
    out_basis, out_core = torch.linalg.qr(product.up)
    row_basis, row_core = torch.linalg.qr(product.down.flatten(1).t())
    left, values, right = torch.linalg.svd(out_core @ row_core.t(), full_matrices=False)
    shape = (product.up.shape[0], *product.down.shape[1:])
    rank = _rank_to_keep(values, max(out_basis.shape[0], row_basis.shape[0]), rank, energy)
    return _balanced_factors(out_basis @ left, values, right @ row_basis.t(), shape, rank)


def tucker_decomposition(delta: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Approximate a convolution's update [out, in, *kernel] by a Tucker form, in float64.

    Higher-order orthogonal iteration (De Lathauwer, De Moor and Vandewalle 2000), started from the singular vectors of
    the two unfoldings.

    Returns:
        up [out, rank], core [rank, rank, *kernel] and down [rank, in].
    """

    def directions(tensor: Tensor) -> Tensor:
        return torch.linalg.svd(tensor.flatten(1), full_matrices=False)[0][:, :rank]

    delta = delta.double()
    down = directions(delta.transpose(0, 1))
    for _ in range(10):
        up = directions(torch.einsum("oi...,is->os...", delta, down))
        down = directions(torch.einsum("oi...,or->ir...", delta, up))
    return up, torch.einsum("oi...,or,is->rs...", delta, up, down), down.t()


@torch.no_grad()
def assign_low_rank(up: Tensor, down: Tensor, delta: Tensor) -> None:
    """Set two factors to the nearest product to an update. Ranks that it does not need get a zero column in `up`.

    Args:
        up: [out, rank].
        down: [rank, in, *kernel], or flat.
        delta: [out, in, *kernel], or flat.
    """
    product = truncated_svd(delta, up.shape[1])
    rank = product.up.shape[1]
    up.zero_()
    up[:, :rank] = product.up
    down[:rank] = product.down.view(rank, *down.shape[1:])


def frobenius_distance(first: LowRank, second: LowRank | None = None) -> float:
    """Return the Frobenius norm of a product, or of the difference of two, without building large products."""
    up, down = first.up, first.down.flatten(1)
    if second is not None:
        up, down = torch.cat([up, -second.up], 1), torch.cat([down, second.down.flatten(1)])
    if 2 * up.shape[1] > min(up.shape[0], down.shape[1]):
        return (up @ down).norm().item()
    cores = torch.linalg.qr(up, mode="r")[1], torch.linalg.qr(down.t(), mode="r")[1]
    return (cores[0] @ cores[1].t()).norm().item()


def check_rank_or_energy(rank: int | None, energy: float | None) -> None:
    """Check the arguments `rank` and `energy`.

    Raises:
        InputError: both are given, or one is out of its range.
    """
    if rank is not None and energy is not None:
        raise InputError(f"Give either `rank` or `energy`, but got {rank!r} and {energy!r}.")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise InputError(f"Argument `rank` must be a whole number of at least 1, but got {rank!r}.")
    if energy is not None and (isinstance(energy, bool) or not isinstance(energy, (int, float)) or not 0 < energy <= 1):
        raise InputError(f"Argument `energy` must be in (0, 1], but got {energy!r}.")


def _rank_to_keep(values: Tensor, size: int, rank: int | None, energy: float | None) -> int:
    """Return how many singular values to keep, at least one."""
    rounding = values[0] * size * torch.finfo(values.dtype).eps
    count = int((values > rounding).sum())
    if energy is not None and values[0] > 0:
        share = values.square().cumsum(0) / values.square().sum()
        count = min(count, int((share < energy).sum()) + 1)
    return max(1, count if rank is None else min(count, rank))


def _balanced_factors(left: Tensor, values: Tensor, right: Tensor, shape: tuple[int, ...], rank: int) -> LowRank:
    root = values[:rank].sqrt()
    return LowRank(left[:, :rank] * root, (root.view(-1, 1) * right[:rank]).view(rank, *shape[1:]))
