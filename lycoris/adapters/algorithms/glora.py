"""GLoRA: a low rank of the weight itself and a low rank beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.alpha import alpha_scale, alpha_tensor
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import LowRank, Operation, Structure, full_precision


@dataclass(slots=True)
class WeightMix(Structure):
    """ΔW = scale · W·a1·a2 + additive: a low rank mixes the inputs before they meet the frozen weight."""

    weight: Tensor
    a1: Tensor
    a2: Tensor
    additive: LowRank
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        weight = self.weight.to(self.a1.dtype)
        return torch.einsum("oi...,ir,rj->oj...", weight, self.a1 * self.scale, self.a2) + self.additive.dense()

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, a1, a2 = x.to(dtype), (self.a1 * self.scale).to(dtype), self.a2.to(dtype)
        groups = x.reshape(-1, x.shape[1] // op.groups, *x.shape[2:]) if op.groups > 1 else x
        mixed = op.pointwise(op.pointwise(groups, a2), a1).reshape(x.shape)
        update = op(mixed, self.weight.to(dtype))
        return self.additive.apply(op, x, update if into is None else into.add_(update))

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        applied, merged = self.additive.cost(op, tokens)
        size, (channels, rank) = self.weight.numel(), self.a1.shape
        return applied + tokens * (2.0 * size + 6.0 * rank * channels), merged + 6.0 * rank * size


class GLoRA(Algorithm):
    """ΔW = alpha/rank · (W·a1·a2 + b1·b2), with a2 and b2 starting at 0 (Chavan et al. 2023, arXiv 2306.07967).

    Args:
        target: the layer.
        rank: of both products, in [1, min(out, in)]; 4 by default.
        alpha: numerator of the scale; rank / 2 by default.
        rank_stabilised: divide alpha by √rank instead of rank.
    """

    algorithm = "glora"
    title = "GLoRA"
    citation = "Chavan et al. 2023, arXiv 2306.07967"
    formula = "s · (W·a1·a2 + b1·b2)"
    examples: ClassVar[Examples] = {
        "rank and alpha": {"rank": 3, "alpha": 2.0},
        "rank stabilised": {"rank": 3, "alpha": 2.0, "rank_stabilised": True},
        "scalar": {"rank": 1, "alpha": 2.0, "scalar": True},
    }
    default_rank = 4
    random_start = True
    zero_factors = ("a2.weight", "b2.weight")
    signature_keys = frozenset({"a1.weight"})
    uses_base_weight = True

    def __init__(
        self, target: TargetLayer, *, rank: int | None = None, alpha: float | None = None, rank_stabilised: bool = False
    ):
        super().__init__()
        target.require_weight("GLoRA")
        out, channels, *kernel = target.shape
        self.rank = target.resolve_rank(rank, self.default_rank, min(out, channels))
        self.scale = alpha_scale(alpha, self.rank, rank_stabilised)
        self.a1 = target.kaiming(channels, self.rank)
        self.a2 = target.zero_factor(self.rank, channels)
        self.b1 = target.kaiming(out, self.rank)
        self.b2 = target.zero_factor(self.rank, channels, *kernel)
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> WeightMix:
        scale = self.scale * scale
        return WeightMix(weight, self.a1, self.a2, LowRank(self.b1, self.b2, scale), scale)

    def state_tensors(self) -> dict[str, Tensor]:
        pointwise = {f"{n}.weight": p.view(*p.shape, *self._ones) for n, p in self.named_parameters() if n != "b2"}
        return {**pointwise, "b2.weight": self.b2, "alpha": alpha_tensor(self.scale * self.rank)}

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        return shapes["b1.weight"][0], *shapes["b2.weight"][1:]

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        rank = shapes["a2.weight"][0]
        return {"rank": rank, "alpha": constants.get("alpha", rank)}

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        a1, a2, b1 = (tensors[f"{name}.weight"].flatten(1) for name in ("a1", "a2", "b1"))
        mixed = torch.tensordot(weight.movedim(1, -1), a1 @ a2, 1).movedim(-1, 1)
        return tensors["alpha"] / a2.shape[0] * (mixed + torch.tensordot(b1, tensors["b2.weight"], 1))
