"""The linear map of a layer, as a function of its weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import grad

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_INPUT_GRADIENTS = {1: grad.conv1d_input, 2: grad.conv2d_input, 3: grad.conv3d_input}
_WEIGHT_GRADIENTS = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}


@dataclass(frozen=True, slots=True)
class Operation:
    """The linear map that a layer performs with its weight: a matrix product or a convolution.

    Attributes:
        dims: number of spatial dimensions; 0 is a Linear layer, 1 to 3 a convolution.
        stride, padding, dilation, groups: as in `torch.nn.Conv2d`.
        pad, pad_mode: explicit padding of the input, for modes other than zeros and for sides that differ.
    """

    dims: int = 0
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    pad: tuple[int, ...] = ()
    pad_mode: str = "zeros"

    @classmethod
    def from_layer(cls, layer: nn.Module) -> Operation:
        """Return the operation of a Linear or Conv1d-3d layer."""
        if isinstance(layer, nn.Linear):
            return cls()
        assert isinstance(layer, nn.modules.conv._ConvNd)
        dims, pad = len(layer.kernel_size), tuple(layer._reversed_padding_repeated_twice)
        before, after = pad[::2][::-1], pad[1::2][::-1]
        if layer.padding_mode == "zeros" and before == after:
            return cls(dims, layer.stride, before, layer.dilation, layer.groups)
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return cls(dims, layer.stride, (0,) * dims, layer.dilation, layer.groups, pad, mode)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int | None = None) -> Tensor:
        """Return the layer's output for another weight; `groups` replaces the layer's own."""
        if self.dims == 0:
            return F.linear(x, weight, bias)
        self, x = self.pad_input(x)
        groups = self.groups if groups is None else groups
        return _CONVOLUTIONS[self.dims](x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def pad_input(self, x: Tensor) -> tuple[Operation, Tensor]:
        """Return the operation without its explicit padding, and the padded input."""
        if not self.pad:
            return self, x
        return replace(self, pad=(), pad_mode="zeros"), F.pad(x, self.pad, mode=self.pad_mode)

    def input_gradient(self, x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of an already padded input; only the shape of `x` is used."""
        if self.dims == 0:
            return gradient @ weight
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _INPUT_GRADIENTS[self.dims](x.shape, weight, gradient, *geometry)

    def weight_gradient(self, x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of a weight for an already padded input; only the shape of `weight` is used."""
        if self.dims == 0:
            return gradient.flatten(0, -2).t() @ x.flatten(0, -2)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _WEIGHT_GRADIENTS[self.dims](x, weight.shape, gradient, *geometry)

    def pointwise(self, x: Tensor, matrix: Float[Tensor, "out in"], groups: int = 1) -> Tensor:
        """Multiply the channels at every position by a matrix."""
        if self.dims == 0:
            return F.linear(x, matrix)
        return _CONVOLUTIONS[self.dims](x, matrix.reshape(*matrix.shape, *(1,) * self.dims), groups=groups)

    def broadcast_channels(self, values: Float[Tensor, " channels"]) -> Tensor:
        """Reshape one value per channel so that it multiplies inputs and outputs."""
        return values.view(-1, *(1,) * self.dims)
