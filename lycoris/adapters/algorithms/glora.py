"""GLoRA: a low rank of the weight itself and a low rank beside it (Chavan et al. 2023, arXiv 2306.07967)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_scale, alpha_tensor
from lycoris.adapters.structures.structures import LowRank, Operation, Structure, full_precision


@dataclass(slots=True)
class WeightMix(Structure):
    """scale · W·a1·a2 + beside: inputs mixed by a low rank before they meet the frozen weight."""

    weight: Tensor
    a1: Tensor
    a2: Tensor
    additive: LowRank
    scale: float = 1.0

    @full_precision
    def dense(self) -> Tensor:
        weight = self.weight.to(self.a1.dtype)
        return torch.einsum("oi...,ir,rj->oj...", weight, self.a1 * self.scale, self.a2) + self.additive.dense()

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, a1, a2 = x.to(dtype), (self.a1 * self.scale).to(dtype), self.a2.to(dtype)
        parts = x.reshape(-1, x.shape[1] // op.groups, *x.shape[2:]) if op.groups > 1 else x
        mixed = op.pointwise(op.pointwise(parts, a2), a1).reshape(x.shape)
        change = op(mixed, self.weight.to(dtype))
        return self.additive.apply(op, x, change if into is None else into.add_(change))

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        applied, built = self.additive.cost(op, tokens)
        size, (channels, rank) = self.weight.numel(), self.a1.shape
        return applied + tokens * (2.0 * size + 6.0 * rank * channels), built + 6.0 * rank * size


class GLoRA(Adapter):
    """ΔW = alpha/rank · (W·a1·a2 + b1·b2), with a2 and b2 starting at 0.

    Args:
        site: the layer.
        rank: of both, in [1, min(out, in)]; 4 by default.
        alpha: numerator of the scale; rank / 2 by default.
        rank_stabilised: divide alpha by √rank instead of rank.
    """

    algorithm = "glora"
    signature_keys = frozenset({"a1.weight"})
    uses_base_weight = True
    zero_factors = ("a2.weight", "b2.weight")

    def __init__(
        self, site: TargetLayer, *, rank: int | None = None, alpha: float | None = None, rank_stabilised: bool = False
    ):
        super().__init__()
        site.require_weight("GLoRA")
        out, channels, *kernel = site.shape
        self.rank = site.resolve_rank(rank, 4, min(out, channels))
        self.scale = alpha_scale(alpha, self.rank, rank_stabilised)
        self.a1 = site.kaiming(channels, self.rank)
        self.a2 = site.zero_factor(self.rank, channels)
        self.b1 = site.kaiming(out, self.rank)
        self.b2 = site.zero_factor(self.rank, channels, *kernel)
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float = 1.0) -> WeightMix:
        scale = self.scale * scale
        return WeightMix(weight, self.a1, self.a2, LowRank(self.b1, self.b2, scale), scale)

    def state_tensors(self) -> dict[str, Tensor]:
        pointwise = {f"{n}.weight": p.view(*p.shape, *self._ones) for n, p in self.named_parameters() if n != "b2"}
        return {**pointwise, "b2.weight": self.b2, "alpha": alpha_tensor(self.scale * self.rank)}

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        return shapes["b1.weight"][0], *shapes["b2.weight"][1:]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        rank = shapes["a2.weight"][0]
        return {"rank": rank, "alpha": constants.get("alpha", rank)}
