"""Native fine-tuning: the whole change of weight and bias, starting at 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter, Partial, Site
from lycoris.adapters.structures.structures import Dense


class Full(Adapter):
    """ΔW and Δb as they are. Norm layers of the chosen part go to `norms`.

    Args:
        site: the layer.
        bias: train the bias as well, where the layer has one.
    """

    algorithm = "full"
    signature = frozenset({"diff"})

    def __init__(self, site: Site, *, bias: bool = True):
        super().__init__()
        self.diff = site.zeros(*site.shape)
        self.diff_b = site.zeros(site.shape[0]) if bias and site.layer.bias is not None else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Dense:
        return Dense(self.diff, scale)

    def bias(self) -> nn.Parameter | None:
        return self.diff_b

    def tensors(self) -> dict[str, Tensor]:
        return {"diff": self.diff} if self.diff_b is None else {"diff": self.diff, "diff_b": self.diff_b}

    def fit(self, change: Tensor, shift: Tensor | None = None) -> None:
        with torch.no_grad():
            self.diff.copy_(change)
            if shift is not None and self.diff_b is not None:
                self.diff_b.copy_(shift)

    @classmethod
    def shape_of(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> Partial:
        return shapes["diff"]

    @classmethod
    def options_of(cls, site: Site, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> dict:
        return {"bias": "diff_b" in shapes}
