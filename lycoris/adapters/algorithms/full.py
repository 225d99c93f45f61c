"""Native fine-tuning: the whole change of weight and bias, starting at 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer
from lycoris.adapters.structures.structures import Dense


class Full(Adapter):
    """ΔW and Δb as they are. Norm layers of the chosen part go to `norms`.

    Args:
        site: the layer.
        bias: train the bias as well, where the layer has one.
    """

    algorithm = "full"
    signature_keys = frozenset({"diff"})

    def __init__(self, site: TargetLayer, *, bias: bool = True):
        super().__init__()
        self.diff = site.zeros(*site.shape)
        self.diff_b = site.zeros(site.shape[0]) if bias and site.layer.bias is not None else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Dense:
        return Dense(self.diff, scale)

    def bias(self) -> nn.Parameter | None:
        return self.diff_b

    def state_tensors(self) -> dict[str, Tensor]:
        return {"diff": self.diff} if self.diff_b is None else {"diff": self.diff, "diff_b": self.diff_b}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        with torch.no_grad():
            self.diff.copy_(delta)
            if bias_delta is not None and self.diff_b is not None:
                self.diff_b.copy_(bias_delta)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        return shapes["diff"]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        return {"bias": "diff_b" in shapes}
