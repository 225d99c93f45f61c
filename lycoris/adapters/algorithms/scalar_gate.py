"""Scalar gate: any adapter times a trained number that starts at 0, as LyCORIS's `use_scalar`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, Algorithm
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import Structure
from lycoris.errors import InputError


class ScalarGate(Adapter):
    """A wrapper around another algorithm's adapter: scalar · ΔW. Files store the product, which every reader knows.

    Args:
        target: the layer, with `scalar` set, so that no factor of `inner` starts at zero.
        inner: the adapter that gives ΔW.

    Raises:
        InputError: the algorithm has no factor that could start at random values instead of zero.
    """

    def __init__(self, target: TargetLayer, inner: Algorithm):
        super().__init__()
        if not inner.zero_factors:
            raise InputError(f"Argument `scalar` needs factors, which `{inner.algorithm}` does not have.")
        self.inner = inner
        self.algorithm, self.uses_base_weight = inner.algorithm, inner.uses_base_weight
        self.scalar = target.zeros()

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Structure:
        scalar: Any = self.scalar * scale  # a tensor, as it is trained; every structure can be scaled by one
        return self.inner.structure(weight, scalar)

    def bias_delta(self) -> Tensor | None:
        return self.inner.bias_delta()

    def state_tensors(self) -> dict[str, Tensor]:
        scaled = self.inner.zero_factors
        return {name: t * self.scalar if name in scaled else t for name, t in self.inner.state_tensors().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.inner.load_tensors(tensors)
        with torch.no_grad():
            self.scalar.fill_(1)

    def metadata(self) -> dict[str, object]:
        return {**self.inner.metadata(), "scalar": True}
