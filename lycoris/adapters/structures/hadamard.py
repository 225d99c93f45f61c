"""An elementwise product of two low ranks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lycoris.adapters.structures.base import ELEMENT_COST, Structure, full_precision, is_unit_scale
from lycoris.adapters.structures.low_rank import LowRank
from lycoris.adapters.structures.operation import Operation


@dataclass(slots=True)
class Hadamard(Structure):
    """ΔW = scale · left ∘ right, of rank r² at most: LoHa (Hyeon-Woo et al. 2021, arXiv 2108.06098).

    (B₁A₁) ∘ (B₂A₂) = B·A, where row o of B is b₁ₒ ⊗ b₂ₒ and column i of A is a₁ᵢ ⊗ a₂ᵢ (face-splitting products).
    """

    left: LowRank
    right: LowRank
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        product = self.left.dense() * self.right.dense()
        return product if is_unit_scale(self.scale) else product * self.scale

    def as_low_rank(self) -> LowRank:
        """Return the same ΔW as one low rank of rank r². Its factors are products in the parameters' dtype."""
        up = (self.left.up.unsqueeze(2) * self.right.up.unsqueeze(1)).flatten(1)
        down = (self.left.down.unsqueeze(1) * self.right.down.unsqueeze(0)).flatten(0, 1)
        return LowRank(up, down, self.scale * self.left.scale * self.right.scale)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        return self.as_low_rank().apply(op, x, into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        out, row_size = self.left.up.shape[0], self.left.down[0].numel()
        rank, squared_rank = self.left.up.shape[1], self.left.up.shape[1] * self.right.up.shape[1]
        factor_size = squared_rank * (out + row_size * op.groups)
        gradients = min(tokens * out * row_size, 2.0 * tokens * factor_size)
        merged = gradients + (2 * ELEMENT_COST + 6.0 * rank) * out * row_size
        return (3.0 * tokens + ELEMENT_COST) * factor_size, merged

    def grad_via_apply(self, op: Operation, tokens: int) -> bool:
        out, row_size = self.left.up.shape[0], self.left.down[0].numel()
        squared_rank = self.left.up.shape[1] * self.right.up.shape[1]
        return 2.0 * squared_rank * (out + row_size * op.groups) < out * row_size
