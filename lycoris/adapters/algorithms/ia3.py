"""(IA)³: a learned gain on a layer's outputs or inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import ELEMENT_COST, Operation, Structure


@dataclass(slots=True)
class Gain(Structure):
    """ΔW = scale · W · gain, with the gain along outputs or inputs."""

    weight: Tensor
    gain: Tensor
    on_input: bool
    scale: float | Tensor = 1.0
    uses_base_output = True

    def dense(self) -> Tensor:
        axis = (1, -1) if self.on_input else (-1, 1)
        gain = self.gain.view(*axis, *(1,) * (self.weight.dim() - 2))
        return self.weight.to(gain.dtype) * (gain * self.scale)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        gain = (self.gain * self.scale).to(dtype)
        if self.on_input:
            gain = gain.repeat(op.groups) if op.groups > 1 else gain
            update = op(x.to(dtype) * op.broadcast_channels(gain), self.weight.to(dtype))
        else:
            base_output = op(x.to(dtype), self.weight.to(dtype)) if base_output is None else base_output
            update = base_output * op.broadcast_channels(gain)
        return update if into is None else into + update

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size, out = self.weight.numel(), self.weight.shape[0]
        applied = 2.0 * tokens * size if self.on_input else 3.0 * tokens * out  # of the layer's own output
        return applied, (tokens + ELEMENT_COST) * size


class IA3(Algorithm):
    """ΔW = W · w, with w starting at 0 (Liu et al. 2022, arXiv 2205.05638).

    Args:
        target: the layer.
        on_input: one gain per input channel instead of one per output.
    """

    algorithm = "ia3"
    title = "(IA)³"
    citation = "Liu et al. 2022, arXiv 2205.05638"
    formula = "W · w by output or input"
    examples: ClassVar[Examples] = {"on the input": {"on_input": True}}
    signature_keys = frozenset({"on_input"})
    uses_base_weight = True
    peft_type = "IA3"

    def __init__(self, target: TargetLayer, *, on_input: bool = False):
        super().__init__()
        target.require_weight("(IA)³")
        self.on_input = bool(on_input)
        self._spatial_dims = len(target.shape) - 2
        self.weight = target.zeros(target.shape[1 if on_input else 0])

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Gain:
        return Gain(weight, self.weight, self.on_input, scale)

    def state_tensors(self) -> dict[str, Tensor]:
        shape = (1, -1, *(1,) * self._spatial_dims) if self._spatial_dims else (-1,)
        return {"weight": self.weight.view(shape), "on_input": torch.tensor(int(self.on_input))}

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        shape = shapes["weight"]
        gains, ones = math.prod(shape), shape[2:]
        return (None, gains, *ones) if constants["on_input"] else (gains, None, *ones)

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        return {"on_input": bool(constants["on_input"])}

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        delta, gain = torch.zeros_like(weight), tensors["weight"].flatten()
        for o in range(weight.shape[0]):
            for i in range(weight.shape[1]):
                delta[o, i] = weight[o, i] * gain[i if tensors["on_input"] else o]
        return delta
