"""DoRA: the direction from any adapter, the magnitude trained separately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, Shapes
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import Operation, Structure, full_precision
from lycoris.errors import InputError

DORA_SCALE_KEY = "dora_scale"
"""Name of the magnitude in files."""

Axis = Literal["output", "input"]


def weight_norms(weight: Tensor, axis: Axis) -> Tensor:
    """Return the Euclidean norm of each output's or input's slice of a weight, [out] or [in / groups]."""
    flat = weight.flatten(1) if axis == "output" else weight.transpose(0, 1).flatten(1)
    return flat.norm(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)


@dataclass(slots=True)
class Renormalized(Structure):
    """scale · ((W + ΔW) · m / ‖W + ΔW‖ - W), for a ΔW of any structure."""

    weight: Tensor
    inner: Structure
    magnitude: Tensor
    axis: Axis
    scale: float | Tensor = 1.0
    uses_base_output = True

    @full_precision
    def _gain(self) -> Tensor:
        return self.magnitude / weight_norms(self.weight.to(self.magnitude.dtype) + self.inner.dense(), self.axis)

    @full_precision
    def dense(self) -> Tensor:
        weight = self.weight.to(self.magnitude.dtype)
        changed = weight + self.inner.dense()
        gain = self.magnitude / weight_norms(changed, self.axis)
        gain = gain.view(*((-1, 1) if self.axis == "output" else (1, -1)), *(1,) * (weight.dim() - 2))
        return (changed * gain - weight) * self.scale

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, weight, gain = x.to(dtype), self.weight.to(dtype), self._gain()
        groups = op.groups if self.axis == "input" else 1
        excess_gain = op.broadcast_channels((gain - 1).to(dtype).repeat(groups))
        gain = op.broadcast_channels(gain.to(dtype).repeat(groups))
        if self.axis == "output":
            base_output = op(x, weight) if base_output is None else base_output
            update = self.inner.apply(op, x) * gain + base_output * excess_gain
        else:
            update = self.inner.apply(op, x * gain) + op(x * excess_gain, weight)
        update = update * self.scale
        return update if into is None else into + update

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        applied, merged = self.inner.cost(op, tokens)
        size = self.weight.numel()
        return applied + (200.0 + tokens) * size, merged + 200.0 * size


class DoRA(Adapter):
    """A wrapper around another algorithm's adapter: W' = (W + ΔW) · m / ‖W + ΔW‖, with m starting at ‖W‖.

    Liu et al. 2024, arXiv 2402.09353.

    Args:
        target: the layer.
        inner: the adapter that gives ΔW.
        axis: one norm per output or per input.

    Raises:
        InputError: `axis` is neither, or the weight is quantised.
    """

    uses_base_weight = True

    def __init__(self, target: TargetLayer, inner: Adapter, axis: Axis = "output"):
        super().__init__()
        target.require_weight("DoRA")
        if axis not in ("output", "input"):
            raise InputError(f'Argument `dora` must be "output" or "input", but got {axis!r}.')
        self.inner = inner
        self.axis = axis
        self.algorithm = inner.algorithm
        if target.uninitialized:
            self.magnitude = target.zeros(target.shape[0 if axis == "output" else 1])
        else:
            norms = weight_norms(
                target.weight.detach().to(target.dtype), axis
            )  # as in a step, so that the start is exact
            self.magnitude = target.from_values(norms)
        dims = len(target.shape) - 2
        self._shape = (-1, 1, *(1,) * dims) if axis == "output" else (1, -1, *(1,) * dims)

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Renormalized:
        return Renormalized(weight, self.inner.structure(weight), self.magnitude, self.axis, scale)

    def bias_delta(self) -> Tensor | None:
        return self.inner.bias_delta()

    def state_tensors(self) -> dict[str, Tensor]:
        return {**self.inner.state_tensors(), DORA_SCALE_KEY: self.magnitude.view(self._shape)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.inner.load_tensors(tensors)
        with torch.no_grad():
            self.magnitude.copy_(tensors[DORA_SCALE_KEY].flatten())

    def metadata(self) -> dict[str, object]:
        return self.inner.metadata()


def infer_dora_axis(target: TargetLayer, shapes: Shapes) -> Axis:
    """Infer from the shape of a file's magnitude whether it is per output or per input."""
    return "output" if shapes[DORA_SCALE_KEY][:2] == (target.shape[0], 1) else "input"
