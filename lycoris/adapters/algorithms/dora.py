"""DoRA: direction from any adapter, length learned apart (Liu et al. 2024, arXiv 2402.09353)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer
from lycoris.adapters.structures.structures import Operation, Structure, full_precision
from lycoris.errors import InputError

DORA_SCALE_KEY = "dora_scale"


def weight_norms(weight: Tensor, axis: Literal["output", "input"]) -> Tensor:
    """Euclidean length of every output's or input's part of a weight, [out] or [in / groups]."""
    flat = weight.flatten(1) if axis == "output" else weight.transpose(0, 1).flatten(1)
    return flat.norm(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)


@dataclass(slots=True)
class Renormalized(Structure):
    """scale · ((W + Δ) · m / ‖W + Δ‖ - W) for a change Δ of any structure."""

    weight: Tensor
    inner: Structure
    magnitude: Tensor
    axis: Literal["output", "input"]
    scale: float = 1.0
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

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, weight, gain = x.to(dtype), self.weight.to(dtype), self._gain()
        less = op.broadcast_channels((gain - 1).to(dtype).repeat(op.groups if self.axis == "input" else 1))
        gain = op.broadcast_channels(gain.to(dtype).repeat(op.groups if self.axis == "input" else 1))
        if self.axis == "output":
            base = op(x, weight) if base is None else base
            change = self.inner.apply(op, x) * gain + base * less
        else:
            change = self.inner.apply(op, x * gain) + op(x * less, weight)
        change = change * self.scale
        return change if into is None else into + change

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        applied, built = self.inner.cost(op, tokens)
        size = self.weight.numel()
        return applied + (200.0 + tokens) * size, built + 200.0 * size


class DoRA(Adapter):
    """A wrapper around another algorithm's adapter: W' = (W + ΔW) · m / ‖W + ΔW‖, m starting at ‖W‖.

    Args:
        site: the layer.
        inner: the adapter that gives ΔW.
        by: lengths per output or per input.
    """

    signature_keys = frozenset({DORA_SCALE_KEY})
    uses_base_weight = True

    def __init__(self, site: TargetLayer, inner: Adapter, by: Literal["output", "input"] = "output"):
        super().__init__()
        site.require_weight("DoRA")
        if by not in ("output", "input"):
            raise InputError(f'Argument `dora` must be "output" or "input", but got {by!r}.')
        self.inner = inner
        self.axis = by
        self.algorithm = inner.algorithm
        if site.uninitialized:
            self.magnitude = site.zeros(site.shape[0 if by == "output" else 1])
        else:
            self.magnitude = site.from_values(weight_norms(site.weight.detach().to(torch.float64), by))
        dims = len(site.shape) - 2
        self._shape = (-1, 1, *(1,) * dims) if by == "output" else (1, -1, *(1,) * dims)

    def structure(self, weight: Tensor, scale: float = 1.0) -> Renormalized:
        return Renormalized(weight, self.inner.structure(weight), self.magnitude, self.axis, scale)

    def bias(self) -> Tensor | None:
        return self.inner.bias()

    def state_tensors(self) -> dict[str, Tensor]:
        return {**self.inner.state_tensors(), DORA_SCALE_KEY: self.magnitude.view(self._shape)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.inner.load_tensors(tensors)
        with torch.no_grad():
            self.magnitude.copy_(tensors[DORA_SCALE_KEY].flatten())

    def metadata(self) -> dict[str, object]:
        return self.inner.metadata()

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        raise NotImplementedError("The adapter inside tells the shape.")

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        return {"by": "output" if shapes[DORA_SCALE_KEY][:2] == (site.shape[0], 1) else "input"}
