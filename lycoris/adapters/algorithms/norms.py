"""Norms: the change of a normalisation layer's gain and shift, starting at 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter, Partial, Site
from lycoris.adapters.structures.structures import Dense


class Norms(Adapter):
    """Additive changes of LayerNorm, GroupNorm and RMSNorm parameters.

    Args:
        site: the layer.
    """

    algorithm = "norms"
    layers = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    signature = frozenset({"w_norm"})

    def __init__(self, site: Site):
        super().__init__()
        self.w_norm = site.zeros(*site.shape)
        self.b_norm = site.zeros(*site.shape) if getattr(site.layer, "bias", None) is not None else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Dense:
        return Dense(self.w_norm, scale)

    def bias(self) -> nn.Parameter | None:
        return self.b_norm

    def tensors(self) -> dict[str, Tensor]:
        return {"w_norm": self.w_norm} if self.b_norm is None else {"w_norm": self.w_norm, "b_norm": self.b_norm}

    def fit(self, change: Tensor, shift: Tensor | None = None) -> None:
        with torch.no_grad():
            self.w_norm.copy_(change)
            if shift is not None and self.b_norm is not None:
                self.b_norm.copy_(shift)

    @classmethod
    def shape_of(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> Partial:
        return shapes["w_norm"]

    @classmethod
    def options_of(cls, site: Site, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> dict:
        return {}
