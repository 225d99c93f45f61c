"""Norms: the update of a normalization layer's scale and bias."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, PartialShape, Shapes
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import Dense


class Norms(Algorithm):
    """Additive updates of the parameters of LayerNorm, GroupNorm and RMSNorm, starting at 0.

    Args:
        target: the layer.
    """

    algorithm = "norms"
    title = "Norms"
    formula = "update of a norm layer's scale and bias"
    layer_types = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    signature_keys = frozenset({"w_norm"})

    def __init__(self, target: TargetLayer):
        super().__init__()
        self.w_norm = target.zeros(*target.shape)
        self.b_norm = target.zeros(*target.shape) if getattr(target.module, "bias", None) is not None else None

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Dense:
        return Dense(self.w_norm, scale)

    def bias_delta(self) -> nn.Parameter | None:
        return self.b_norm

    def state_tensors(self) -> dict[str, Tensor]:
        return {"w_norm": self.w_norm} if self.b_norm is None else {"w_norm": self.w_norm, "b_norm": self.b_norm}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        with torch.no_grad():
            self.w_norm.copy_(delta)
            if bias_delta is not None and self.b_norm is not None:
                self.b_norm.copy_(bias_delta)

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        return shapes["w_norm"]

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        return {}

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        return tensors["w_norm"]
