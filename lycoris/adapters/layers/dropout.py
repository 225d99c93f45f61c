"""Dropout for adapters: on the delta's output, on rows of the delta, on whole adapters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.errors import InputError


@dataclass(frozen=True)
class Dropout:
    """Probabilities in [0, 1) of leaving something out while training.

    Attributes:
        delta: elements of the delta's output; the rest is scaled by 1 / (1 - p).
        rows: output channels of the delta, the same for the whole batch; the rest is scaled by 1 / (1 - p).
        modules: the whole adapter of a layer, unscaled.
    """

    delta: float = 0.0
    rows: float = 0.0
    modules: float = 0.0

    def __post_init__(self) -> None:
        for argument, value in (("dropout", self.delta), ("rank_dropout", self.rows), ("module_dropout", self.modules)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise InputError(f"Argument `{argument}` must be a probability in [0, 1), but got {value!r}.")

    def __bool__(self) -> bool:
        """Whether the delta itself is changed."""
        return bool(self.delta or self.rows)

    def __call__(self, change: Tensor, dims: int) -> Tensor:
        """Leave out parts of a delta's output.

        Args:
            change: [..., out], or [batch, out, *space] with `dims` spatial dimensions.
            dims: 0 for Linear.
        """
        if self.rows:
            channels = change.shape[1] if dims else change.shape[-1]
            keep = torch.rand(channels, device=change.device) >= self.rows
            mask = keep.to(change.dtype) / (1 - self.rows)
            change = change * (mask.view(-1, *(1,) * dims) if dims else mask)
        if self.delta:  # drawn in the order of the axes, whatever the layout in memory
            keep = torch.empty(change.shape, dtype=change.dtype, device=change.device).bernoulli_(1 - self.delta)
            change = change * keep.div_(1 - self.delta)
        return change
