"""A product of two thin matrices."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lycoris.adapters.structures.base import ELEMENT_COST, Structure, accumulate, full_precision, is_unit_scale
from lycoris.adapters.structures.operation import Operation


@dataclass(slots=True)
class LowRank(Structure):
    """ΔW = scale · up · down: LoRA (Hu et al. 2021, arXiv 2106.09685), for convolutions as LoCon defines it."""

    up: Float[Tensor, "out rank"]
    down: Float[Tensor, "rank in *kernel"]
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        up = self.up if is_unit_scale(self.scale) else self.up * self.scale
        return (up @ self.down.flatten(1)).view(up.shape[0], *self.down.shape[1:])

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, up, down = x.to(dtype), self.up.to(dtype), self.down.to(dtype)
        if op.dims == 0 and into is not None and into.dim() == 2 and not isinstance(self.scale, Tensor):
            return into.addmm_(x @ down.t(), up.t(), alpha=self.scale)
        if not is_unit_scale(self.scale):
            up = up * self.scale
        if op.groups == 1:
            return accumulate(op.pointwise(op(x, down), up), into)
        groups = op.groups
        hidden = op(x.reshape(-1, x.shape[1] // groups, *x.shape[2:]), down, groups=1)
        hidden = hidden.reshape(x.shape[0], groups * down.shape[0], *hidden.shape[2:])
        return accumulate(op.pointwise(hidden, up, groups=groups), into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        rank, out, row_size = self.up.shape[1], self.up.shape[0], self.down[0].numel()
        merged = tokens * out * row_size + 3.0 * rank * out * row_size + ELEMENT_COST * out * row_size
        return 3.0 * tokens * rank * (out + row_size * op.groups), merged
