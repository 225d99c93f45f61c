"""(IA)³: a learned gain on a layer's outputs or inputs (Liu et al. 2022, arXiv 2205.05638)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer
from lycoris.adapters.structures.structures import Operation, Structure


@dataclass(slots=True)
class Gain(Structure):
    """scale · W · gain, the gain along outputs or inputs: what the layer gives, once more and weighted."""

    weight: Tensor
    gain: Tensor
    on_input: bool
    scale: float = 1.0
    uses_base_output = True

    def dense(self) -> Tensor:
        axis = (1, -1) if self.on_input else (-1, 1)
        gain = self.gain.view(*axis, *(1,) * (self.weight.dim() - 2))
        return self.weight.to(gain.dtype) * (gain * self.scale)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        gain = (self.gain * self.scale).to(dtype)
        if self.on_input:
            gain = gain.repeat(op.groups) if op.groups > 1 else gain
            change = op(x.to(dtype) * op.broadcast_channels(gain), self.weight.to(dtype))
        else:
            base = op(x.to(dtype), self.weight.to(dtype)) if base is None else base
            change = base * op.broadcast_channels(gain)
        return change if into is None else into + change

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size = self.weight.numel()
        return tokens * (2.0 * size if self.on_input else size), tokens * size + 60.0 * size


class IA3(Adapter):
    """ΔW = W · w, with w starting at 0.

    Args:
        site: the layer.
        on_input: one gain per input channel instead of one per output.
    """

    algorithm = "ia3"
    signature_keys = frozenset({"on_input"})
    uses_base_weight = True

    def __init__(self, site: TargetLayer, *, on_input: bool = False):
        super().__init__()
        site.require_weight("(IA)³")
        self.on_input = bool(on_input)
        self._ones = len(site.shape) - 2
        self.weight = site.zeros(site.shape[1 if on_input else 0])

    def structure(self, weight: Tensor, scale: float = 1.0) -> Gain:
        return Gain(weight, self.weight, self.on_input, scale)

    def state_tensors(self) -> dict[str, Tensor]:
        shape = (1, -1, *(1,) * self._ones) if self._ones else (-1,)
        return {"weight": self.weight.view(shape), "on_input": torch.tensor(int(self.on_input))}

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        shape = shapes["weight"]
        gains, ones = math.prod(shape), shape[2:]
        return (None, gains, *ones) if constants["on_input"] else (gains, None, *ones)

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        return {"on_input": bool(constants["on_input"])}
