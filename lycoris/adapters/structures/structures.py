"""Structured weight updates: what an adapter adds to a weight, as a definition and as a cheaper way to apply it.

Every algorithm is one of these structures. `dense()` is the definition; `apply()` gives the same result for an
input without ever building the weight; `cost()` says what each takes, so that the layer may choose.
Shapes follow the layer: a Linear weight is [out, in], a Conv weight [out, in / groups, *kernel].
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import grad

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_INPUT_GRADIENTS = {1: grad.conv1d_input, 2: grad.conv2d_input, 3: grad.conv3d_input}
_WEIGHT_GRADIENTS = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}
_ELEMENT_COST = 60.0
"""What one element of a weight that is built, added and differentiated costs, in multiply-adds of a matrix product."""


def full_precision(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Products of factors are formed in the parameters' own precision, also inside autocast."""

    @functools.wraps(function)
    def inner(*args, **kwargs) -> Tensor:
        device = "cuda" if torch.is_autocast_enabled("cuda") else "cpu"
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return inner


@dataclass(frozen=True, slots=True)
class Operation:
    """The linear map that a layer performs with its weight: a matrix product or a convolution.

    Attributes:
        dims: spatial dimensions; 0 is a Linear layer, 1 to 3 a convolution.
        stride, padding, dilation, groups: as in `torch.nn.Conv2d`.
        pad, pad_mode: padding done beforehand, for the modes other than zeros and for sides that differ.
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
        """The operation of a Linear or Conv1d-3d layer."""
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
        """The layer's output for another weight; `groups` may replace the layer's own."""
        if self.dims == 0:
            return F.linear(x, weight, bias)
        self, x = self.pad_input(x)
        groups = self.groups if groups is None else groups
        return _CONVOLUTIONS[self.dims](x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def pad_input(self, x: Tensor) -> tuple[Operation, Tensor]:
        """The operation without what is padded beforehand, and the input with it."""
        if not self.pad:
            return self, x
        return replace(self, pad=(), pad_mode="zeros"), F.pad(x, self.pad, mode=self.pad_mode)

    def input_gradient(self, x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of an input, of which only the shape counts; nothing is padded beforehand."""
        if self.dims == 0:
            return gradient @ weight
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _INPUT_GRADIENTS[self.dims](x.shape, weight, gradient, *geometry)

    def weight_gradient(self, x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of a weight, of which only the shape counts; nothing is padded beforehand."""
        if self.dims == 0:
            return gradient.flatten(0, -2).t() @ x.flatten(0, -2)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _WEIGHT_GRADIENTS[self.dims](x, weight.shape, gradient, *geometry)

    def pointwise(self, x: Tensor, matrix: Float[Tensor, "out in"], groups: int = 1) -> Tensor:
        """A matrix on the channels at every position."""
        if self.dims == 0:
            return F.linear(x, matrix)
        return _CONVOLUTIONS[self.dims](x, matrix.reshape(*matrix.shape, *(1,) * self.dims), groups=groups)

    def broadcast_channels(self, values: Float[Tensor, " channels"]) -> Tensor:
        """One value per channel, in a shape that multiplies inputs and outputs."""
        return values.view(-1, *(1,) * self.dims)


@dataclass(slots=True)
class Structure(ABC):
    """A change of a weight that knows how to be dense, to be applied, and what either costs."""

    uses_base_output = False
    """Whether `apply` can use the frozen layer's own output, without bias, when it is at hand."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The change itself, in the shape of the weight."""

    @abstractmethod
    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        """The layer's operation on `x` with this change as the weight.

        Args:
            op: the layer's operation.
            x: [..., in] for Linear, [batch, in, *space] for convolutions.
            into: a tensor of the output's shape to which the result is added, in place where that is possible;
                its dtype is the one computed in.
            base: the operation on `x` with the frozen weight, where `reads_output`.

        Returns:
            [..., out] or [batch, out, *space].
        """

    @abstractmethod
    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        """Multiply-adds of a training step beyond the frozen layer's: (applied, built and added to the weight).

        Args:
            op: the layer's operation.
            tokens: output positions, batch included.
        """

    def add_to(self, weight: Tensor) -> Tensor:
        """The weight with this change added, in the weight's dtype."""
        return weight + self.dense().to(weight.dtype)

    def grad_via_apply(self, op: Operation, tokens: int) -> bool:
        """Whether, where the weight is built, the factors' gradients still cost less by way of `apply`."""
        return False

    def tensors(self) -> list[Tensor]:
        """Every tensor the change is made of, in the order of the fields."""
        found = []
        for value in (getattr(self, each.name) for each in fields(self)):
            for part in value if isinstance(value, tuple) else (value,):
                found += part.tensors() if isinstance(part, Structure) else [part] if isinstance(part, Tensor) else []
        return found

    def with_tensors(self, tensors: Iterator[Tensor]) -> Self:
        """The same structure of other tensors, taken in the order of `tensors()`."""

        def other(value: object) -> object:
            if isinstance(value, tuple):
                return tuple(other(part) for part in value)
            return (
                value.with_tensors(tensors)
                if isinstance(value, Structure)
                else next(tensors)
                if isinstance(value, Tensor)
                else value
            )

        return replace(self, **{each.name: other(getattr(self, each.name)) for each in fields(self)})


@dataclass(slots=True)
class Dense(Structure):
    """The change as it is: scale · delta. Native fine-tuning, and what everything else falls back to."""

    delta: Tensor
    scale: float | Tensor = 1.0

    def dense(self) -> Tensor:
        return self.delta if is_unit_scale(self.scale) else self.delta * self.scale

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        return _apply_dense(self, op, x, into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size = self.delta.numel()
        return 3.0 * tokens * size, tokens * size + 3.0 * size


@dataclass(slots=True)
class LowRank(Structure):
    """scale · up · down: LoRA (Hu et al. 2021, arXiv 2106.09685), for convolutions as LoCon does it."""

    up: Float[Tensor, "out rank"]
    down: Float[Tensor, "rank in *kernel"]
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        up = self.up if is_unit_scale(self.scale) else self.up * self.scale
        return (up @ self.down.flatten(1)).view(up.shape[0], *self.down.shape[1:])

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, up, down = x.to(dtype), self.up.to(dtype), self.down.to(dtype)
        if op.dims == 0 and into is not None and into.dim() == 2 and not isinstance(self.scale, Tensor):
            return into.addmm_(x @ down.t(), up.t(), alpha=self.scale)
        if not is_unit_scale(self.scale):
            up = up * self.scale
        if op.groups == 1:
            return _accumulate(op.pointwise(op(x, down), up), into)
        parts = op.groups
        hidden = op(x.reshape(-1, x.shape[1] // parts, *x.shape[2:]), down, groups=1)
        hidden = hidden.reshape(x.shape[0], parts * down.shape[0], *hidden.shape[2:])
        return _accumulate(op.pointwise(hidden, up, groups=parts), into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        rank, out, row = self.up.shape[1], self.up.shape[0], self.down[0].numel()
        built = tokens * out * row + 3.0 * rank * out * row + _ELEMENT_COST * out * row
        return 3.0 * tokens * rank * (out + row * op.groups), built


@dataclass(slots=True)
class Tucker(Structure):
    """scale · up · mid · down: a convolution of few channels between two pointwise maps (LoCon's Tucker form)."""

    up: Float[Tensor, "out rank"]
    mid: Float[Tensor, "rank rank *kernel"]
    down: Float[Tensor, "rank in"]
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        up = self.up if is_unit_scale(self.scale) else self.up * self.scale
        return torch.einsum("or,rs...,si->oi...", up, self.mid, self.down)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        if op.groups > 1:
            return _apply_dense(self, op, x, into)
        dtype = x.dtype if into is None else into.dtype
        up = self.up if is_unit_scale(self.scale) else self.up * self.scale
        hidden = op.pointwise(x.to(dtype), self.down.to(dtype))
        return _accumulate(op.pointwise(op(hidden, self.mid.to(dtype)), up.to(dtype)), into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        kernel = self.mid[0, 0].numel()
        (out, rank), row = self.up.shape, self.down.shape[1] * kernel
        inputs = tokens * math.prod(op.stride)
        applied = 3.0 * rank * (tokens * (out + rank * kernel) + inputs * self.down.shape[1])
        return applied, (tokens + _ELEMENT_COST) * out * row + 3.0 * rank * out * row


@dataclass(slots=True)
class Hadamard(Structure):
    """left ∘ right of two low ranks r, itself of rank r² at most: LoHa (Hyeon-Woo et al. 2021, arXiv 2108.06098).

    (B₁A₁) ∘ (B₂A₂) = B·A, where row o of B is b₁ₒ ⊗ b₂ₒ and column i of A is a₁ᵢ ⊗ a₂ᵢ (face-splitting products).
    """

    left: LowRank
    right: LowRank
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        product = self.left.dense() * self.right.dense()
        return product if is_unit_scale(self.scale) else product * self.scale

    def as_low_rank(self) -> LowRank:
        """The same change as one low rank of rank r²; its factors are exact products in the parameters' dtype."""
        up = (self.left.up.unsqueeze(2) * self.right.up.unsqueeze(1)).flatten(1)
        down = (self.left.down.unsqueeze(1) * self.right.down.unsqueeze(0)).flatten(0, 1)
        return LowRank(up, down, self.scale * self.left.scale * self.right.scale)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        return self.as_low_rank().apply(op, x, into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        out, row = self.left.up.shape[0], self.left.down[0].numel()
        rank, square = self.left.up.shape[1], self.left.up.shape[1] * self.right.up.shape[1]
        thin = square * (out + row * op.groups)
        learning = min(tokens * out * row, 2.0 * tokens * thin)
        return (3.0 * tokens + _ELEMENT_COST) * thin, learning + (2 * _ELEMENT_COST + 6.0 * rank) * out * row

    def grad_via_apply(self, op: Operation, tokens: int) -> bool:
        out, row = self.left.up.shape[0], self.left.down[0].numel()
        return 2.0 * self.left.up.shape[1] * self.right.up.shape[1] * (out + row * op.groups) < out * row


@dataclass(slots=True)
class Kronecker(Structure):
    """scale · (outer ⊗ inner): LoKr. Channels split in two; each factor acts on its own half.

    The weight is Δ[i·k + j, p·n + q] = outer[i, p] · inner[j, q] with inner of [k, n, *kernel].
    """

    outer: Float[Tensor, "outer_out outer_in"]
    inner: Float[Tensor, "inner_out inner_in *kernel"]
    scale: float | Tensor = 1.0

    @full_precision
    def dense(self) -> Tensor:
        outer = self.outer if is_unit_scale(self.scale) else self.outer * self.scale
        (a, b), (c, d, *kernel) = outer.shape, self.inner.shape
        product = outer.view(a, 1, b, 1, *(1,) * len(kernel)) * self.inner.unsqueeze(1)
        return product.reshape(a * c, b * d, *kernel)

    def add_to(self, weight: Tensor) -> Tensor:
        (a, b), (c, d, *kernel) = self.outer.shape, self.inner.shape
        ones = (1,) * len(kernel)
        outer = self.outer if is_unit_scale(self.scale) else self.outer * self.scale
        outer, inner = outer.view(a, 1, b, 1, *ones).to(weight.dtype), self.inner.unsqueeze(1).to(weight.dtype)
        return torch.addcmul(weight.view(a, c, b, d, *kernel), outer, inner).view(weight.shape)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        if op.groups > 1:
            return _apply_dense(self, op, x, into)
        dtype = x.dtype if into is None else into.dtype
        outer = self.outer if is_unit_scale(self.scale) else self.outer * self.scale
        x, outer, inner = x.to(dtype), outer.to(dtype), self.inner.to(dtype)
        if op.dims == 0 and x.dim() != 2:
            flat = self.apply(op, x.reshape(-1, x.shape[-1]))
            return _accumulate(flat.view(*x.shape[:-1], flat.shape[-1]), into)
        op, x = op.pad_input(x)
        if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _KroneckerFunction.apply(op, x, outer, inner, into)
        times = 2 if torch.is_grad_enabled() else 1
        return _apply_kronecker(op, x, outer, inner, into, self._inner_first(times, times + 1 if times > 1 else 1))

    def _inner_first(self, inner_times: int, outer_times: int) -> bool:
        """Whether the inner factor goes first, where its products are done so many times in a step of either order."""
        (a, b), (c, d) = self.outer.shape, (self.inner.shape[0], self.inner[0].numel())
        return inner_times * b * c * d + 3 * a * b * c < outer_times * a * c * d + 3 * a * b * d

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        (a, b), (c, d) = self.outer.shape, (self.inner.shape[0], self.inner[0].numel())
        applied = tokens * min(4.0 * b * c * d + 3.0 * a * b * c, 3.0 * a * c * d + 4.0 * a * b * d)
        if op.groups > 1:
            return math.inf, (tokens + _ELEMENT_COST) * a * b * c * d
        return applied, min(tokens * a * b * c * d, self._gradient_cost(tokens)) + _ELEMENT_COST * a * b * c * d

    def grad_via_apply(self, op: Operation, tokens: int) -> bool:
        size = self.outer.numel() * self.inner.numel()
        return op.groups == 1 and self._gradient_cost(tokens) < tokens * size

    def _gradient_cost(self, tokens: int) -> float:
        (a, b), (c, d) = self.outer.shape, (self.inner.shape[0], self.inner[0].numel())
        return tokens * min(2.0 * b * c * d + 3.0 * a * b * c, 3.0 * a * c * d + 3.0 * a * b * d)


def _apply_kronecker(
    op: Operation, x: Tensor, outer: Tensor, inner: Tensor, into: Tensor | None, inner_first: bool
) -> Tensor:
    """[rows, b·d, *space] to [rows, a·c, *space]: the inner factor is a small operation, the outer a mix."""
    (a, b), c = outer.shape, inner.shape[0]
    if inner_first:
        hidden = op(_split_groups(x, b), inner)
        return _accumulate(_mix_groups(outer, hidden.reshape(x.shape[0], b * c, *hidden.shape[2:])), into)
    mixed = _split_groups(_mix_groups(outer, x), a)
    if op.dims == 0 and into is not None and into.is_contiguous():
        into.view(-1, c).addmm_(mixed, inner.t())
        return into
    change = op(mixed, inner)
    return _accumulate(change.reshape(x.shape[0], a * c, *change.shape[2:]), into)


class _KroneckerFunction(torch.autograd.Function):
    """`_kronecker` for training: keeps the input and the factors alone, and does what lies between once more."""

    @staticmethod
    def forward(ctx, op: Operation, x: Tensor, outer: Tensor, inner: Tensor, into: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, outer, inner)
        ctx.op = op
        ctx.inner_first = Kronecker(outer, inner)._inner_first(4, 3)
        if into is not None:
            ctx.mark_dirty(into)
        return _apply_kronecker(op, x, outer, inner, into, ctx.inner_first)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, outer, inner), op = ctx.saved_tensors, ctx.op
        (a, b), rows = outer.shape, x.shape[0]
        into = gradient if ctx.needs_input_grad[4] else None
        if ctx.inner_first:
            groups = _split_groups(x, b)
            hidden = op(groups, inner)
            of_outer = _mix_gradient(gradient, hidden.reshape(rows, -1, *hidden.shape[2:]), a, b)
            of_hidden = _split_groups(_mix_groups(outer.t(), gradient), b)
            of_inner = op.weight_gradient(groups, inner, of_hidden)
            of_x = op.input_gradient(groups, inner, of_hidden).reshape(x.shape)
        else:
            mixed, gradient = _split_groups(_mix_groups(outer, x), a), _split_groups(gradient, a)
            of_inner = op.weight_gradient(mixed, inner, gradient)
            of_mixed = op.input_gradient(mixed, inner, gradient).reshape(rows, -1, *x.shape[2:])
            of_outer = _mix_gradient(of_mixed, x, a, b)
            of_x = _mix_groups(outer.t(), of_mixed)
        return None, of_x, of_outer, of_inner, into


def _split_groups(x: Tensor, groups: int) -> Tensor:
    """[rows, groups·channels, *space] to [rows·groups, channels, *space]."""
    return x.reshape(x.shape[0] * groups, x.shape[1] // groups, *x.shape[2:])


def _mix_groups(matrix: Float[Tensor, "new old"], x: Tensor) -> Tensor:
    """Groups of channels mixed: [rows, old·channels, *space] to [rows, new·channels, *space]."""
    new, old = matrix.shape
    mixed = torch.bmm(matrix.expand(x.shape[0], new, old), x.reshape(x.shape[0], old, -1))
    return mixed.view(x.shape[0], -1, *x.shape[2:])


def _mix_gradient(gradient: Tensor, x: Tensor, new: int, old: int) -> Float[Tensor, "new old"]:
    """The gradient of the matrix in `_mixed`."""
    rows = x.shape[0]
    return torch.bmm(gradient.reshape(rows, new, -1), x.reshape(rows, old, -1).transpose(1, 2)).sum(0)


def _apply_dense(structure: Structure, op: Operation, x: Tensor, into: Tensor | None) -> Tensor:
    dtype = x.dtype if into is None else into.dtype
    return _accumulate(op(x.to(dtype), structure.dense().to(dtype)), into)


def _accumulate(change: Tensor, into: Tensor | None) -> Tensor:
    return change if into is None else into.add_(change)


def is_unit_scale(scale: float | Tensor) -> bool:
    """Whether a scale changes nothing; of one that is trained, and may be on a GPU, the value is not asked for."""
    return not isinstance(scale, Tensor) and scale == 1.0
