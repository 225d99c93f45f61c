"""BOFT: a butterfly of block rotations, through which every output reaches every other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Examples, Shapes
from lycoris.adapters.algorithms.diag_oft import DiagOFT, Rotation, cayley, oft_tensors, reference_cayley
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.errors import InputError


def butterfly_split(size: int, factor: int) -> tuple[int, int]:
    """Split a size into the largest (block, number): block even, at most `factor`, and number a power of two.

    For example 320 with factor 10 is (10, 32); with factor 8 there is none, as 320 / 8 = 40 is not a power of two.

    Args:
        size: number of outputs.
        factor: limit of the block; -1 for none.

    Raises:
        InputError: there is no such split.
    """
    limit = size if factor == -1 else factor
    for block in range(limit - limit % 2, 1, -2):
        number, remainder = divmod(size, block)
        if remainder == 0 and number & (number - 1) == 0:
            return block, number
    smallest = size // (size & -size) * 2
    hint = f"at least {smallest}" if size % 2 == 0 else "impossible for an odd size"
    raise InputError(f"Argument `factor` must be {hint} for {size} outputs, but got {factor}.")


def _default_block_size(size: int) -> int:
    """Return the smallest block of at least 4, where there is one."""
    block = size // (size & -size) * 2
    while block < 4 and block < size:
        block *= 2
    return block


class BOFT(Algorithm):
    """W' = rescale · R_m···R_1·W, with block rotations R_i of channels 2^i apart, which start at I.

    Liu et al. 2023, arXiv 2311.06243.

    Args:
        target: the layer.
        factor: largest size of the blocks, -1 for any; by default the smallest one of at least 4.
        constraint: limit of Q's norm, in units of the number of outputs; 0 for none.
        rescale: train a gain per output as well, starting at 1.
    """

    algorithm = "boft"
    title = "BOFT"
    citation = "Liu et al. 2023, arXiv 2311.06243"
    formula = "a butterfly of block rotations"
    examples: ClassVar[Examples] = {
        "rescaled": {"rescale": True},
        "constrained": {"constraint": 0.01},
        "whole": {"factor": -1},
    }
    signature_keys = frozenset({"oft_blocks"})
    uses_base_weight = True

    def __init__(
        self, target: TargetLayer, *, factor: int | None = None, constraint: float = 0.0, rescale: bool = False
    ):
        super().__init__()
        target.require_weight("BOFT")
        out = target.shape[0]
        try:
            size, number = butterfly_split(out, _default_block_size(out) if factor is None else factor)
        except InputError as error:
            raise InputError(f"{error} Layer `{target.name}` of shape {list(target.shape)}.") from None
        self.constraint = float(constraint)
        self._limit = self.constraint * out
        self._ones = (1,) * (len(target.shape) - 1)
        self.oft_blocks = target.zeros(number.bit_length(), number, size, size)
        self.rescale = target.ones(out) if rescale else None

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Rotation:
        return Rotation(weight, cayley(self.oft_blocks, self._limit).unbind(0), self.rescale, scale, butterfly=True)

    def state_tensors(self) -> dict[str, Tensor]:
        return oft_tensors(self.oft_blocks, self.rescale, self.constraint, self._ones)

    infer_shape = DiagOFT.infer_shape
    infer_options = DiagOFT.infer_options

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        return super().matches(shapes) and len(shapes["oft_blocks"]) == 4

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        rotated, out = weight.flatten(1), weight.shape[0]
        for level, blocks in enumerate(reference_cayley(tensors["oft_blocks"], tensors["alpha"] * out)):
            stride = 2**level * (blocks.shape[-1] // 2)
            order = torch.arange(out).view(-1, 2, stride).transpose(1, 2).flatten()
            matrix = torch.zeros(out, out, dtype=weight.dtype)
            matrix[order.view(-1, 1), order.view(1, -1)] = torch.block_diag(*blocks)
            rotated = matrix @ rotated
        return rotated.view(weight.shape) * tensors.get("rescale", torch.ones(1)) - weight
