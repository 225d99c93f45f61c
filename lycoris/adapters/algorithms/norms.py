"""Norms: the change of a normalisation layer's gain and shift, starting at 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer
from lycoris.adapters.structures.structures import Dense


class Norms(Adapter):
    """Additive changes of LayerNorm, GroupNorm and RMSNorm parameters.

    Args:
        site: the layer.
    """

    algorithm = "norms"
    layer_types = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    signature_keys = frozenset({"w_norm"})

    def __init__(self, site: TargetLayer):
        super().__init__()
        self.w_norm = site.zeros(*site.shape)
        self.b_norm = site.zeros(*site.shape) if getattr(site.layer, "bias", None) is not None else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Dense:
        return Dense(self.w_norm, scale)

    def bias(self) -> nn.Parameter | None:
        return self.b_norm

    def state_tensors(self) -> dict[str, Tensor]:
        return {"w_norm": self.w_norm} if self.b_norm is None else {"w_norm": self.w_norm, "b_norm": self.b_norm}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        with torch.no_grad():
            self.w_norm.copy_(delta)
            if bias_delta is not None and self.b_norm is not None:
                self.b_norm.copy_(bias_delta)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        return shapes["w_norm"]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        return {}
