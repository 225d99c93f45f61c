"""The layer that an adapter is built for, and the initial values of the adapter's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.errors import InputError


@dataclass(frozen=True)
class TargetLayer:
    """A layer that an adapter is built for, and the source of its parameters' initial values.

    Attributes:
        name: path of the layer, for messages: ``"unet.mid_block.attentions.0.proj_in"``.
        module: the frozen layer itself.
        generator: on the CPU, so that a seed gives the same values on every device.
        uninitialized: create parameters on the meta device, of any size, to be filled later.
        scalar: a trained scalar starts at zero, so that no factor has to.
        header_values: options that a file's header adds to what its tensors tell.
        any_rank: allow ranks above what the layer can use, as `lycoris-lora` does.
    """

    name: str
    module: nn.Module
    generator: torch.Generator | None = field(default=None, repr=False)
    uninitialized: bool = False
    scalar: bool = False
    header_values: Mapping[str, object] = field(default_factory=dict)
    any_rank: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight, [out, in / groups, *kernel]."""
        if isinstance(self.module, nn.Linear):
            return self.module.out_features, self.module.in_features
        return tuple(self.weight.shape)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as the layer stores it."""
        weight: Any = self.module.weight
        return weight

    @property
    def row_size(self) -> int:
        """Number of weight elements per output: in / groups · kernel."""
        return math.prod(self.shape[1:])

    def zeros(self, *shape: int) -> nn.Parameter:
        """Create a parameter of zeros."""
        return self._parameter(torch.zeros(shape, dtype=self.dtype, device=self._device))

    def ones(self, *shape: int) -> nn.Parameter:
        """Create a parameter of ones."""
        return self._parameter(torch.ones(shape, dtype=self.dtype, device=self._device))

    def zero_factor(self, *shape: int) -> nn.Parameter:
        """Create the factor that makes ΔW start at zero: zeros, or Kaiming values where a scalar is zero instead."""
        return self.kaiming(*shape) if self.scalar else self.zeros(*shape)

    def from_values(self, values: Tensor) -> nn.Parameter:
        """Create a parameter with these values, in the parameters' dtype and on the layer's device."""
        return self._parameter(values.to(self._device, self.dtype, copy=True))

    def normal(self, *shape: int, std: float = 1.0) -> nn.Parameter:
        """Create a parameter of normal values with mean 0."""
        return self._random(lambda x: x.normal_(0.0, std, generator=self.generator), shape)

    def kaiming(self, *shape: int) -> nn.Parameter:
        """Create a parameter uniform in ±1/√fan_in: Kaiming with a = √5, the default of PyTorch's own layers."""
        return self._random(lambda x: nn.init.kaiming_uniform_(x, a=math.sqrt(5), generator=self.generator), shape)

    def resolve_rank(self, rank: int | None, default: int | None, limit: int) -> int:
        """Return the requested rank, or the default clipped to the layer's limit.

        Args:
            rank: what was requested; None for the default.
            default: rank where none was requested; None for the limit itself.
            limit: the largest rank that the layer allows.

        Raises:
            InputError: `rank` is outside [1, limit].
        """
        if rank is None:
            return limit if default is None else min(default, limit)
        if self.uninitialized:
            return rank
        if self.any_rank:
            limit = max(limit, rank) if isinstance(rank, int) else limit
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= limit:
            raise InputError(
                f"Argument `rank` must be a whole number in [1, {limit}], but got {rank!r} for layer "
                f"`{self.name}` of shape {list(self.shape)}."
            )
        return rank

    def require_weight(self, feature: str) -> None:
        """Check that the frozen weight can be read.

        Args:
            feature: what reads the weight, for the message.

        Raises:
            InputError: the weight is quantised: not floating point of 16 bits or more in the layer's shape.
        """
        weight = self.weight
        if not is_unquantized(weight) or tuple(weight.shape) != self.shape:
            raise InputError(
                f"{feature} needs the weight itself, but layer `{self.name}` has a quantised one: "
                f"{type(weight).__name__} of {weight.dtype}, {list(weight.shape)}. Choose an algorithm "
                "that does not read the weight, such as `lora`."
            )

    @property
    def _device(self) -> torch.device:
        return torch.device("meta") if self.uninitialized else self.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters: float32, or float64 where the weight has it."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def _random(self, fill: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> nn.Parameter:
        if self._device.type == "meta":
            return self._parameter(torch.empty(shape, dtype=self.dtype, device=self._device))
        return self._parameter(fill(torch.empty(shape, dtype=self.dtype)).to(self._device))

    @staticmethod
    def _parameter(values: Tensor) -> nn.Parameter:
        return nn.Parameter(values)


def is_unquantized(weight: Tensor) -> bool:
    """Tell whether a weight stores its values, not the codes of a quantised layer, as other libraries' tensors do."""
    return type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point() and weight.element_size() >= 2
