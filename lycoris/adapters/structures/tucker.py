"""A small convolution between two pointwise maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lycoris.adapters.structures.base import ELEMENT_COST, Structure, accumulate, full_precision, is_unit_scale
from lycoris.adapters.structures.operation import Operation


@dataclass(slots=True)
class Tucker(Structure):
    """ΔW = scale · up · mid · down: a convolution of few channels between two pointwise maps (LoCon's Tucker form)."""

    up: Float[Tensor, "out rank"]
    mid: Float[Tensor, "rank rank *kernel"]
    down: Float[Tensor, "rank in"]
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        up = self.up if is_unit_scale(self.scale) else self.up * self.scale
        return torch.einsum("or,rs...,si->oi...", up, self.mid, self.down)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        if op.groups > 1:
            return self.apply_dense(op, x, into)
        dtype = x.dtype if into is None else into.dtype
        up = self.up if is_unit_scale(self.scale) else self.up * self.scale
        hidden = op.pointwise(x.to(dtype), self.down.to(dtype))
        return accumulate(op.pointwise(op(hidden, self.mid.to(dtype)), up.to(dtype)), into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        kernel = self.mid[0, 0].numel()
        (out, rank), row_size = self.up.shape, self.down.shape[1] * kernel
        inputs = tokens * math.prod(op.stride)
        applied = 3.0 * rank * (tokens * (out + rank * kernel) + inputs * self.down.shape[1])
        return applied, (tokens + ELEMENT_COST) * out * row_size + 3.0 * rank * out * row_size
