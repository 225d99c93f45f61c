"""The interface of a structured weight update."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lycoris.adapters.structures.operation import Operation

ELEMENT_COST = 60.0
"""Cost of building, adding and differentiating one weight element, in multiply-adds of a matrix product."""


@dataclass(slots=True)
class Structure(ABC):
    """A weight update ΔW that can be built, applied to an input, and priced."""

    uses_base_output = False
    """Whether `apply` can reuse the frozen layer's own output (without bias)."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return ΔW, in the shape of the weight. This is the definition; every other method agrees with it."""

    @abstractmethod
    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        """Apply the layer's operation to `x` with ΔW as the weight.

        Args:
            op: the layer's operation.
            x: [..., in] for Linear, [batch, in, *space] for convolutions.
            into: tensor of the output's shape to which the result is added, in place where possible. Its dtype is the
                dtype of the computation.
            base_output: the operation on `x` with the frozen weight, where `uses_base_output`.

        Returns:
            [..., out] or [batch, out, *space].
        """

    @abstractmethod
    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        """Estimate the multiply-adds that a training step needs beyond the frozen layer's.

        Args:
            op: the layer's operation.
            tokens: number of output positions, batch included.

        Returns:
            Cost of `apply`, and of adding `dense()` to the weight.
        """

    def add_to(self, weight: Tensor) -> Tensor:
        """Return weight + ΔW in the weight's dtype."""
        return weight + self.dense().to(weight.dtype)

    def apply_dense(self, op: Operation, x: Tensor, into: Tensor | None = None) -> Tensor:
        """Do what `apply` does by building ΔW."""
        dtype = x.dtype if into is None else into.dtype
        return accumulate(op(x.to(dtype), self.dense().to(dtype)), into)

    def grad_via_apply(self, op: Operation, tokens: int) -> bool:
        """Tell whether gradients are cheaper through `apply`, even where the forward pass builds the weight."""
        return False

    def tensors(self) -> list[Tensor]:
        """Return every tensor of the structure, in the order of the fields."""
        tensors = []
        for value in (getattr(self, field.name) for field in fields(self)):
            for item in value if isinstance(value, tuple) else (value,):
                tensors += item.tensors() if isinstance(item, Structure) else [item] if isinstance(item, Tensor) else []
        return tensors

    def with_tensors(self, tensors: Iterator[Tensor]) -> Structure:
        """Return the same structure with other tensors, taken in the order of `tensors()`."""

        def substitute(value: object) -> object:
            if isinstance(value, tuple):
                return tuple(substitute(item) for item in value)
            if isinstance(value, Structure):
                return value.with_tensors(tensors)
            return next(tensors) if isinstance(value, Tensor) else value

        return replace(self, **{field.name: substitute(getattr(self, field.name)) for field in fields(self)})


def full_precision(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorate a product of factors to run in the parameters' own precision, also inside autocast."""

    @functools.wraps(function)
    def inner(*args, **kwargs) -> Tensor:
        device = "cuda" if torch.is_autocast_enabled("cuda") else "cpu"
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return inner


def is_unit_scale(scale: float | Tensor) -> bool:
    """Tell whether a scale is the constant 1. A trained scale never is: reading its value would synchronise a GPU."""
    return not isinstance(scale, Tensor) and scale == 1.0


def accumulate(update: Tensor, into: Tensor | None) -> Tensor:
    """Add an update in place, or return it where there is nothing to add to."""
    return update if into is None else into.add_(update)
