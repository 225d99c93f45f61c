"""Dropout of adapters: elements of the update's output, its channels, or whole adapters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.errors import InputError


@dataclass(frozen=True)
class Dropout:
    """Dropout probabilities in training, in [0, 1).

    Attributes:
        delta: of elements of the update's output; the rest is scaled by 1 / (1 - p).
        rows: of output channels of the update, the same for the whole batch; the rest is scaled by 1 / (1 - p).
        modules: of a layer's whole adapter, without scaling.
    """

    delta: float = 0.0
    rows: float = 0.0
    modules: float = 0.0

    def __post_init__(self) -> None:
        for argument, value in self.settings().items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise InputError(f"Argument `{argument}` must be a probability in [0, 1), but got {value!r}.")

    def settings(self) -> dict[str, float]:
        """Return the probabilities by the names of the arguments of `attach`."""
        return {"dropout": self.delta, "rank_dropout": self.rows, "module_dropout": self.modules}

    def __bool__(self) -> bool:
        """Whether the update itself is changed."""
        return bool(self.delta or self.rows)

    def __call__(self, update: Tensor, dims: int) -> Tensor:
        """Apply dropout to an update's output.

        Args:
            update: [..., out], or [batch, out, *space] with `dims` spatial dimensions.
            dims: 0 for Linear.
        """
        if self.rows:
            channels = update.shape[1] if dims else update.shape[-1]
            keep = torch.rand(channels, device=update.device) >= self.rows
            mask = keep.to(update.dtype) / (1 - self.rows)
            update = update * (mask.view(-1, *(1,) * dims) if dims else mask)
        if self.delta:  # generated in the order of the axes, for any layout in memory
            keep = torch.empty(update.shape, dtype=update.dtype, device=update.device).bernoulli_(1 - self.delta)
            update = update * keep.div_(1 - self.delta)
        return update
