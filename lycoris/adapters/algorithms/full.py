"""Native fine-tuning: the change of weight and bias themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import Dense


class Full(Algorithm):
    """ΔW and Δb themselves, starting at 0. Norm layers among the selected ones are adapted by `norms`.

    Args:
        target: the layer.
        bias: train the bias as well, where the layer has one.
    """

    algorithm = "full"
    title = "Full"
    formula = "ΔW and Δb themselves; norm layers of the selected parts too"
    aliases = ("native",)
    examples: ClassVar[Examples] = {"weights alone": {"bias": False}}
    with_norms = True
    signature_keys = frozenset({"diff"})

    def __init__(self, target: TargetLayer, *, bias: bool = True):
        super().__init__()
        self.diff = target.zeros(*target.shape)
        self.diff_b = target.zeros(target.shape[0]) if bias and target.module.bias is not None else None

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Dense:
        return Dense(self.diff, scale)

    def bias_delta(self) -> nn.Parameter | None:
        return self.diff_b

    def state_tensors(self) -> dict[str, Tensor]:
        return {"diff": self.diff} if self.diff_b is None else {"diff": self.diff, "diff_b": self.diff_b}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        with torch.no_grad():
            self.diff.copy_(delta)
            if bias_delta is not None and self.diff_b is not None:
                self.diff_b.copy_(bias_delta)

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        return shapes["diff"]

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        return {"bias": "diff_b" in shapes}

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        return tensors["diff"]
