"""An unstructured update: the matrix itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lycoris.adapters.structures.base import Structure, is_unit_scale
from lycoris.adapters.structures.operation import Operation


@dataclass(slots=True)
class Dense(Structure):
    """ΔW = scale · delta, as native fine-tuning has it."""

    delta: Tensor
    scale: float | Tensor = 1.0

    def dense(self) -> Tensor:
        return self.delta if is_unit_scale(self.scale) else self.delta * self.scale

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        return self.apply_dense(op, x, into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size = self.delta.numel()
        return 3.0 * tokens * size, tokens * size + 3.0 * size
