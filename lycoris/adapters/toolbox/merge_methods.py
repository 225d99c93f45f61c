"""Ways to combine the updates of several adapters for one weight: sum, TIES, DARE and pruning by magnitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

MethodName = Literal["sum", "linear", "ties", "dare", "dare-ties", "magnitude"]
METHOD_NAMES: tuple[MethodName, ...] = get_args(MethodName)


@dataclass(frozen=True)
class Pruning:
    """What is kept of each update before the updates are combined.

    Attributes:
        density: share of the values that are kept, in (0, 1].
        generator: source of the random choice, where it is random.
    """

    density: float
    generator: torch.Generator


Method = Callable[[Tensor, Tensor, Pruning], Tensor]
"""(updates [n, ...], weights [n], pruning) → the combined update [...]."""


def prune_by_magnitude(update: Tensor, density: float) -> Tensor:
    """Return an update with only its largest values, ⌊density · number⌋ of them."""
    flat = update.flatten()
    kept = flat.abs().topk(int(density * flat.numel())).indices
    return torch.zeros_like(flat).index_copy_(0, kept, flat[kept]).view_as(update)


def prune_randomly(update: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Return an update with a random share of its values, divided by the share so that the expectation stays."""
    mask = torch.bernoulli(torch.full(update.shape, density, dtype=update.dtype), generator=generator)
    return update * mask.to(update.device) / density


def weighted_sum(updates: Tensor, weights: Tensor) -> Tensor:
    """Return Σ weight · update."""
    return torch.tensordot(weights, updates, 1)


def merge_by_sign(updates: Tensor, weights: Tensor) -> Tensor:
    """Return, for each value, the mean of the weighted updates whose sign is that of the sum of all updates."""
    majority = torch.where(updates.sum(0) >= 0, 1.0, -1.0).to(updates.dtype)
    agrees = updates.sign() == majority
    total = (updates * weights.view(-1, *(1,) * (updates.dim() - 1)) * agrees).sum(0)
    return total / agrees.sum(0).clamp(min=1)


def _sum(updates: Tensor, weights: Tensor, pruning: Pruning) -> Tensor:
    return weighted_sum(updates, weights)


def _magnitude(updates: Tensor, weights: Tensor, pruning: Pruning) -> Tensor:
    return weighted_sum(_each(updates, lambda update: prune_by_magnitude(update, pruning.density)), weights)


def _ties(updates: Tensor, weights: Tensor, pruning: Pruning) -> Tensor:
    return merge_by_sign(_each(updates, lambda update: prune_by_magnitude(update, pruning.density)), weights)


def _dare(updates: Tensor, weights: Tensor, pruning: Pruning) -> Tensor:
    kept = _each(updates, lambda update: prune_randomly(update, pruning.density, pruning.generator))
    return weighted_sum(kept, weights)


def _dare_ties(updates: Tensor, weights: Tensor, pruning: Pruning) -> Tensor:
    kept = _each(updates, lambda update: prune_randomly(update, pruning.density, pruning.generator))
    return merge_by_sign(kept, weights)


def _each(updates: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    pruned: Sequence[Tensor] = [function(update) for update in updates]
    return torch.stack(list(pruned))


METHODS: dict[MethodName, Method] = {
    "sum": _sum,
    "ties": _ties,
    "dare": _dare,
    "dare-ties": _dare_ties,
    "magnitude": _magnitude,
}
"""Name → method on whole updates: TIES (Yadav et al. 2023, arXiv 2306.01708), DARE (Yu et al. 2023, arXiv 2311.03099).
`linear` is not among them, since it combines factors."""
PRUNING_METHODS = frozenset(METHODS) - {"sum"}
"""Those that keep only a share of each update."""
