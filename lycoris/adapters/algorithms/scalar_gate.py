"""Scalar start: any adapter times a trained number that starts at 0, as LyCORIS's `use_scalar`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer
from lycoris.adapters.structures.structures import Structure
from lycoris.errors import InputError


class ScalarGate(Adapter):
    """A wrapper around another algorithm's adapter: scalar · ΔW. Files have the product, so every reader knows them.

    Args:
        site: the layer, with `scalar` set, so that no factor of `inner` starts at zero.
        inner: the adapter that gives ΔW.

    Raises:
        InputError: the change is not linear in factors of `inner` that could be drawn instead of zero.
    """

    signature_keys = frozenset()

    def __init__(self, site: TargetLayer, inner: Adapter):
        super().__init__()
        if not inner.zero_factors:
            raise InputError(f"Argument `scalar` needs factors, which `{inner.algorithm}` has not.")
        self.inner = inner
        self.algorithm, self.uses_base_weight = inner.algorithm, inner.uses_base_weight
        self.scalar = site.zeros()

    def structure(self, weight: Tensor, scale: float = 1.0) -> Structure:
        times: Any = self.scalar * scale  # a tensor, since it is trained; every structure can be scaled by one
        return self.inner.structure(weight, times)

    def bias(self) -> Tensor | None:
        return self.inner.bias()

    def state_tensors(self) -> dict[str, Tensor]:
        folded = self.inner.zero_factors
        return {name: t * self.scalar if name in folded else t for name, t in self.inner.state_tensors().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.inner.load_tensors(tensors)
        with torch.no_grad():
            self.scalar.fill_(1)

    def metadata(self) -> dict[str, object]:
        return {**self.inner.metadata(), "scalar": True}

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        raise NotImplementedError("The adapter inside tells the shape.")

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        return {}
