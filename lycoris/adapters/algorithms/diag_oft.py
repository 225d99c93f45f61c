"""Diag-OFT: output channels rotated in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.alpha import alpha_tensor
from lycoris.adapters.algorithms.lokr import check_factor, factorization
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import ELEMENT_COST, Operation, Structure, full_precision


@full_precision
def cayley(blocks: Tensor, limit: float = 0.0) -> Tensor:
    """Return (I + Q)(I - Q)⁻¹ with Q = blocks - blocksᵀ: orthogonal, and I where the blocks are 0.

    Args:
        blocks: [..., size, size].
        limit: largest Frobenius norm of Q over all blocks, to which Q is scaled down; 0 for no limit.
    """
    skew = blocks - blocks.transpose(-1, -2)
    if limit > 0:
        norm = skew.norm()
        skew = skew * torch.where(norm > limit, limit / norm.clamp_min(1e-30), torch.ones_like(norm))
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    return torch.linalg.solve(eye - skew, eye + skew, left=False)


@dataclass(slots=True)
class Rotation(Structure):
    """ΔW = scale · (rescale · R·W - W), for a map R of the output channels.

    R is the product of block-diagonal `rotations` [number, size, size], the last one applied last. In a butterfly each
    mixes channels half a block apart, then twice as far, and so on.
    """

    weight: Tensor
    rotations: tuple[Tensor, ...]
    rescale: Tensor | None
    scale: float | Tensor = 1.0
    butterfly: bool = False
    uses_base_output = True

    def _delta(self, values: Tensor) -> Tensor:
        """Rotate and rescale [channels, columns] and subtract it: Σ (Rᵢ - I)·vᵢ, so that nothing cancels."""
        rotated, delta = values, torch.zeros_like(values)
        for level, blocks in enumerate(self.rotations):
            eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
            step = _apply_blocks(rotated, (blocks - eye).to(values.dtype), level if self.butterfly else None)
            rotated, delta = rotated + step, delta + step
        if self.rescale is not None:
            gain = self.rescale.view(-1, 1)
            delta = delta * gain.to(values.dtype) + values * (gain - 1).to(values.dtype)
        return delta * self.scale

    @full_precision
    def dense(self) -> Tensor:
        weight = self.weight.to(self.rotations[0].dtype)
        return self._delta(weight.flatten(1)).view(weight.shape)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        if op.groups > 1:  # a block may span groups, which have different inputs
            update = op(x.to(dtype), self.dense().to(dtype))
            return update if into is None else into + update
        base_output = op(x.to(dtype), self.weight.to(dtype)) if base_output is None else base_output.to(dtype)
        channels = base_output.movedim(1 if op.dims else -1, 0)
        update = self._delta(channels.flatten(1)).view(channels.shape).movedim(0, 1 if op.dims else -1)
        return update if into is None else into + update

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size, out = self.weight.numel(), self.weight.shape[0]
        rotating = sum(3.0 * blocks.shape[-1] + 20.0 for blocks in self.rotations) * out
        applied = float("inf") if op.groups > 1 else tokens * rotating  # of the layer's own output
        return applied, (tokens + ELEMENT_COST) * size + rotating * size / out


def _apply_blocks(values: Tensor, blocks: Tensor, level: int | None) -> Tensor:
    """Apply a block-diagonal map to [channels, columns], in a butterfly to channels 2^level half blocks apart."""
    size, columns = blocks.shape[-1], values.shape[1]
    if level is None:
        return torch.bmm(blocks, values.reshape(-1, size, columns)).view(values.shape)
    stride = 2**level * (size // 2)
    mixed = values.reshape(-1, 2, stride, columns).transpose(1, 2).reshape(-1, size, columns)
    mixed = torch.bmm(blocks, mixed)
    return mixed.view(-1, stride, 2, columns).transpose(1, 2).reshape(values.shape)


class DiagOFT(Algorithm):
    """W' = rescale · Rᵀ·W, with R block-diagonal and orthogonal by Cayley's map of Q, which starts at 0.

    Qiu et al. 2023, arXiv 2306.07280; the blocks are those of LyCORIS.

    Args:
        target: the layer.
        factor: size of the blocks where it divides the outputs, else near it, as LoKr splits.
        constraint: limit of Q's norm, in units of the number of outputs; 0 for none.
        rescale: train a gain per output as well, starting at 1.
    """

    algorithm = "diag-oft"
    title = "Diag-OFT"
    citation = "Qiu et al. 2023, arXiv 2306.07280"
    formula = "outputs rotated in blocks"
    aliases = ("diag_oft", "oft")
    examples: ClassVar[Examples] = {"rescaled": {"factor": 5, "rescale": True}, "constrained": {"constraint": 0.01}}
    signature_keys = frozenset({"oft_blocks"})
    uses_base_weight = True

    def __init__(self, target: TargetLayer, *, factor: int = 4, constraint: float = 0.0, rescale: bool = False):
        super().__init__()
        target.require_weight("Diag-OFT")
        check_factor(factor)
        out = target.shape[0]
        size, number = factorization(out, factor)
        self.constraint = float(constraint)
        self._limit = self.constraint * out
        self._ones = (1,) * (len(target.shape) - 1)
        self.oft_blocks = target.zeros(number, size, size)
        self.rescale = target.ones(out) if rescale else None

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Rotation:
        return Rotation(weight, (cayley(self.oft_blocks, self._limit).transpose(1, 2),), self.rescale, scale)

    def state_tensors(self) -> dict[str, Tensor]:
        return oft_tensors(self.oft_blocks, self.rescale, self.constraint, self._ones)

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        *_, number, size, _ = shapes["oft_blocks"]
        return number * size, None, *shapes.get("rescale", ())[2:]

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        return {
            "factor": shapes["oft_blocks"][-1],
            "constraint": constants.get("alpha", 0.0),
            "rescale": "rescale" in shapes,
        }

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        return super().matches(shapes) and len(shapes["oft_blocks"]) == 3

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        rotations = reference_cayley(tensors["oft_blocks"], tensors["alpha"] * weight.shape[0])
        rotated = torch.tensordot(torch.block_diag(*rotations.mT), weight, 1)
        return rotated * tensors.get("rescale", torch.ones(1)) - weight


def oft_tensors(blocks: Tensor, rescale: Tensor | None, constraint: float, ones: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the tensors of a Diag-OFT or BOFT file."""
    optional = {} if rescale is None else {"rescale": rescale.view(-1, *ones)}
    return {"oft_blocks": blocks, **optional, "alpha": alpha_tensor(constraint)}


def reference_cayley(blocks: Tensor, limit: Tensor) -> Tensor:
    """Compute `cayley` by its formula, with an explicit inverse."""
    skew = blocks - blocks.mT
    if 0 < limit < skew.norm():
        skew = skew * limit / skew.norm()
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype)
    return (eye + skew) @ torch.linalg.inv(eye - skew)
