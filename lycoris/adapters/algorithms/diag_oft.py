"""Diag-OFT: output channels rotated in blocks (Qiu et al. 2023, arXiv 2306.07280; blocks as LyCORIS has them)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_tensor
from lycoris.adapters.algorithms.lokr import factorization
from lycoris.adapters.structures.structures import Operation, Structure, full_precision
from lycoris.errors import InputError


@full_precision
def cayley(blocks: Tensor, limit: float = 0.0) -> Tensor:
    """(I + Q)(I - Q)⁻¹ with Q = blocks - blocksᵀ: orthogonal, and I where the blocks are 0.

    Args:
        blocks: [..., size, size].
        limit: Q is scaled down to this Frobenius norm over all blocks; 0 is no limit.
    """
    skew = blocks - blocks.transpose(-1, -2)
    if limit > 0:
        norm = skew.norm()
        skew = skew * torch.where(norm > limit, limit / norm.clamp_min(1e-30), torch.ones_like(norm))
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    return torch.linalg.solve(eye - skew, eye + skew, left=False)


@dataclass(slots=True)
class Rotation(Structure):
    """scale · (rescale · R·W - W): what a map R of the output channels changes, written on any tensor with channels.

    R is the product of block-diagonal `turns` [number, size, size], the last one applied last; in a butterfly each
    is on channels half a block apart, then twice as far.
    """

    weight: Tensor
    rotations: tuple[Tensor, ...]
    rescale: Tensor | None
    scale: float = 1.0
    butterfly: bool = False
    uses_base_output = True

    def _delta(self, values: Tensor) -> Tensor:
        """[channels, columns], rotated and rescaled, less itself: Σ (Rᵢ - I)·vᵢ, so that nothing cancels."""
        turned, change = values, torch.zeros_like(values)
        for level, blocks in enumerate(self.rotations):
            eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
            step = _apply_blocks(turned, (blocks - eye).to(values.dtype), level if self.butterfly else None)
            turned, change = turned + step, change + step
        if self.rescale is not None:
            gain = self.rescale.view(-1, 1)
            change = change * gain.to(values.dtype) + values * (gain - 1).to(values.dtype)
        return change * self.scale

    @full_precision
    def dense(self) -> Tensor:
        weight = self.weight.to(self.rotations[0].dtype)
        return self._delta(weight.flatten(1)).view(weight.shape)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        if op.groups > 1:  # a block may reach over groups, which see other inputs
            change = op(x.to(dtype), self.dense().to(dtype))
            return change if into is None else into + change
        base = op(x.to(dtype), self.weight.to(dtype)) if base is None else base.to(dtype)
        channels = base.movedim(1 if op.dims else -1, 0)
        change = self._delta(channels.flatten(1)).view(channels.shape).movedim(0, 1 if op.dims else -1)
        return change if into is None else into + change

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size, out = self.weight.numel(), self.weight.shape[0]
        turning = sum(3.0 * blocks.shape[-1] + 20.0 for blocks in self.rotations) * out
        applied = float("inf") if op.groups > 1 else tokens * (size + turning)
        return applied, (tokens + 60.0) * size + turning * size / out


def _apply_blocks(values: Tensor, blocks: Tensor, level: int | None) -> Tensor:
    """One block-diagonal map of [channels, columns]; at a butterfly's level, of channels 2^level half blocks apart."""
    size, columns = blocks.shape[-1], values.shape[1]
    if level is None:
        return torch.bmm(blocks, values.reshape(-1, size, columns)).view(values.shape)
    apart = 2**level * (size // 2)
    mixed = values.reshape(-1, 2, apart, columns).transpose(1, 2).reshape(-1, size, columns)
    mixed = torch.bmm(blocks, mixed)
    return mixed.view(-1, apart, 2, columns).transpose(1, 2).reshape(values.shape)


class DiagOFT(Adapter):
    """W' = rescale · Rᵀ·W, R block-diagonal and orthogonal by Cayley's map, with Q starting at 0.

    Args:
        site: the layer.
        factor: size of the blocks where it divides the outputs, else near it, as LoKr splits; 4 by default.
        constraint: limit of Q's norm in units of the outputs; 0 is none.
        rescale: a learned gain per output as well, starting at 1.
    """

    algorithm = "diag-oft"
    signature_keys = frozenset({"oft_blocks"})
    uses_base_weight = True

    def __init__(self, site: TargetLayer, *, factor: int | None = None, constraint: float = 0.0, rescale: bool = False):
        super().__init__()
        site.require_weight("Diag-OFT")
        factor = 4 if factor is None else factor
        if isinstance(factor, bool) or not isinstance(factor, int) or (factor < 1 and factor != -1):
            raise InputError(f"Argument `factor` must be -1 or a whole number of at least 1, but got {factor!r}.")
        out = site.shape[0]
        size, number = factorization(out, factor)
        self.constraint = float(constraint)
        self._limit = self.constraint * out
        self._ones = (1,) * (len(site.shape) - 1)
        self.oft_blocks = site.zeros(number, size, size)
        self.rescale = site.ones(out) if rescale else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Rotation:
        return Rotation(weight, (cayley(self.oft_blocks, self._limit).transpose(1, 2),), self.rescale, scale)

    def state_tensors(self) -> dict[str, Tensor]:
        return oft_tensors(self.oft_blocks, self.rescale, self.constraint, self._ones)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        *_, number, size, _ = shapes["oft_blocks"]
        return number * size, None, *shapes.get("rescale", ())[2:]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        return {
            "factor": shapes["oft_blocks"][-1],
            "constraint": constants.get("alpha", 0.0),
            "rescale": "rescale" in shapes,
        }

    @classmethod
    def matches(cls, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        return super().matches(shapes) and len(shapes["oft_blocks"]) == 3


def oft_tensors(blocks: Tensor, rescale: Tensor | None, constraint: float, ones: tuple[int, ...]) -> dict[str, Tensor]:
    """The tensors of Diag-OFT and BOFT files."""
    more = {} if rescale is None else {"rescale": rescale.view(-1, *ones)}
    return {"oft_blocks": blocks, **more, "alpha": alpha_tensor(constraint)}
