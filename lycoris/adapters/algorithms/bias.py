"""A change of the bias beside any adapter, as ComfyUI's and LyCORIS's `diff_b` beside a LoRA."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import Structure
from lycoris.errors import InputError

BIAS_KEY = "diff_b"
"""Name of the change in files."""


class BiasDelta(Adapter):
    """A wrapper around an adapter that has no change of the bias: the same ΔW, and Δb.

    Args:
        target: the layer.
        inner: the adapter that gives ΔW.

    Raises:
        InputError: the layer has no bias.
    """

    def __init__(self, target: TargetLayer, inner: Adapter):
        super().__init__()
        if getattr(target.module, "bias", None) is None:
            raise InputError(f"`{BIAS_KEY}` needs a bias, which layer `{target.name}` does not have.")
        self.inner = inner
        self.algorithm, self.uses_base_weight = inner.algorithm, inner.uses_base_weight
        self.diff_b = target.zeros(target.shape[0])

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Structure:
        return self.inner.structure(weight, scale)

    def bias_delta(self) -> Tensor:
        return self.diff_b

    def state_tensors(self) -> dict[str, Tensor]:
        return {**self.inner.state_tensors(), BIAS_KEY: self.diff_b}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.inner.load_tensors(tensors)
        with torch.no_grad():
            self.diff_b.copy_(tensors[BIAS_KEY])

    def metadata(self) -> dict[str, object]:
        return self.inner.metadata()
