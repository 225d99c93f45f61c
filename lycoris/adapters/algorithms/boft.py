"""BOFT: a butterfly of block rotations, by which every output reaches every other (Liu et al. 2023, 2311.06243)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer
from lycoris.adapters.algorithms.diag_oft import Rotation, cayley, oft_tensors
from lycoris.errors import InputError


def butterfly_split(size: int, factor: int) -> tuple[int, int]:
    """(block, number) with block even, at most `factor` (any, for -1), and number = size / block a power of two.

    The largest such block; 320 with factor 8 is (none: 320 / 8 = 40 is no power of two), with 10 it is (10, 32).

    Raises:
        InputError: there is none.
    """
    limit = size if factor == -1 else factor
    for block in range(limit - limit % 2, 1, -2):
        number, rest = divmod(size, block)
        if rest == 0 and number & (number - 1) == 0:
            return block, number
    smallest = size // (size & -size) * 2
    hint = f"at least {smallest}" if size % 2 == 0 else "impossible for an odd size"
    raise InputError(f"Argument `factor` must be {hint} for {size} outputs, but got {factor}.")


def _default_block_size(size: int) -> int:
    """The smallest block from 4 on, where there is one."""
    block = size // (size & -size) * 2
    while block < 4 and block < size:
        block *= 2
    return block


class BOFT(Adapter):
    """W' = rescale · R_m···R_1·W, R_i block rotations of channels 2^i apart, starting at I.

    Args:
        site: the layer.
        factor: largest size of the blocks, -1 for any; by default the smallest there is from 4 on.
        constraint: limit of Q's norm in units of the outputs; 0 is none.
        rescale: a learned gain per output as well, starting at 1.
    """

    algorithm = "boft"
    signature_keys = frozenset({"oft_blocks"})
    uses_base_weight = True

    def __init__(self, site: TargetLayer, *, factor: int | None = None, constraint: float = 0.0, rescale: bool = False):
        super().__init__()
        site.require_weight("BOFT")
        out = site.shape[0]
        try:
            size, number = butterfly_split(out, _default_block_size(out) if factor is None else factor)
        except InputError as error:
            raise InputError(f"{error} Layer `{site.name}` of shape {list(site.shape)}.") from None
        self.constraint = float(constraint)
        self._limit = self.constraint * out
        self._ones = (1,) * (len(site.shape) - 1)
        self.oft_blocks = site.zeros(number.bit_length(), number, size, size)
        self.rescale = site.ones(out) if rescale else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Rotation:
        return Rotation(weight, cayley(self.oft_blocks, self._limit).unbind(0), self.rescale, scale, butterfly=True)

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
        size = shapes["oft_blocks"][-1]
        return {"factor": size, "constraint": constants.get("alpha", 0.0), "rescale": "rescale" in shapes}

    @classmethod
    def matches(cls, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        return super().matches(shapes) and len(shapes["oft_blocks"]) == 4
