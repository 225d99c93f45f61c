"""Structured weight updates: what an adapter adds to a weight, as a definition and as a cheaper way to apply it.

Every algorithm is one of these structures. `dense()` is the definition; `apply()` gives the same result for an
input without ever building the weight; `cost()` says what each takes, so that the layer may choose.
Shapes follow the layer: a Linear weight is [out, in], a Conv weight [out, in / groups, *kernel].
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_ELEMENT = 60.0
"""What one element of a weight that is built, added and differentiated costs, in multiply-adds of a matrix product."""
_SMALL_PRODUCT = 3.0
"""How much slower the small products of a Kronecker structure run than one large product."""


def exact(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
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
        pad, pad_mode: padding done beforehand, for the modes other than zeros.
    """

    dims: int = 0
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    pad: tuple[int, ...] = ()
    pad_mode: str = "zeros"

    @classmethod
    def of(cls, layer: nn.Module) -> Operation:
        """The operation of a Linear or Conv1d-3d layer."""
        if isinstance(layer, nn.Linear):
            return cls()
        geometry = (len(layer.kernel_size), layer.stride, layer.padding, layer.dilation, layer.groups)
        if layer.padding_mode == "zeros":
            return cls(*geometry)
        zero = (0,) * len(layer.kernel_size)
        pad = tuple(layer._reversed_padding_repeated_twice)
        return cls(*geometry[:2], zero, *geometry[3:], pad, layer.padding_mode)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int | None = None) -> Tensor:
        """The layer's output for another weight; `groups` may replace the layer's own."""
        if self.dims == 0:
            return F.linear(x, weight, bias)
        if self.pad_mode != "zeros":
            x = F.pad(x, self.pad, mode=self.pad_mode)
        groups = self.groups if groups is None else groups
        return _CONVOLUTIONS[self.dims](x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def pointwise(self, x: Tensor, matrix: Float[Tensor, "out in"], groups: int = 1) -> Tensor:
        """A matrix on the channels at every position."""
        if self.dims == 0:
            return F.linear(x, matrix)
        return _CONVOLUTIONS[self.dims](x, matrix.reshape(*matrix.shape, *(1,) * self.dims), groups=groups)

    def on_channels(self, values: Float[Tensor, " channels"]) -> Tensor:
        """One value per channel, in a shape that multiplies inputs and outputs."""
        return values.view(-1, *(1,) * self.dims)


class Structure(ABC):
    """A change of a weight that knows how to be dense, to be applied, and what either costs."""

    reads_output = False
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


@dataclass(slots=True)
class Dense(Structure):
    """The change as it is: scale · delta. Native fine-tuning, and what everything else falls back to."""

    delta: Tensor
    scale: float | Tensor = 1.0

    def dense(self) -> Tensor:
        return self.delta if _is_one(self.scale) else self.delta * self.scale

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

    @exact
    def dense(self) -> Tensor:
        up = self.up if _is_one(self.scale) else self.up * self.scale
        return (up @ self.down.flatten(1)).view(up.shape[0], *self.down.shape[1:])

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        dtype = x.dtype if into is None else into.dtype
        x, up, down = x.to(dtype), self.up.to(dtype), self.down.to(dtype)
        if op.dims == 0 and into is not None and into.dim() == 2 and not isinstance(self.scale, Tensor):
            return into.addmm_(x @ down.t(), up.t(), alpha=self.scale)
        if not _is_one(self.scale):
            up = up * self.scale
        if op.groups == 1:
            return _sum(op.pointwise(op(x, down), up), into)
        parts = op.groups
        hidden = op(x.reshape(-1, x.shape[1] // parts, *x.shape[2:]), down, groups=1)
        hidden = hidden.reshape(x.shape[0], parts * down.shape[0], *hidden.shape[2:])
        return _sum(op.pointwise(hidden, up, groups=parts), into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        rank, out, row = self.up.shape[1], self.up.shape[0], self.down[0].numel()
        built = tokens * out * row + 3.0 * rank * out * row + _ELEMENT * out * row
        return 3.0 * tokens * rank * (out + row * op.groups), built


@dataclass(slots=True)
class Tucker(Structure):
    """scale · up · mid · down: a convolution of few channels between two pointwise maps (LoCon's Tucker form)."""

    up: Float[Tensor, "out rank"]
    mid: Float[Tensor, "rank rank *kernel"]
    down: Float[Tensor, "rank in"]
    scale: float | Tensor = 1.0

    @exact
    def dense(self) -> Tensor:
        up = self.up if _is_one(self.scale) else self.up * self.scale
        return torch.einsum("or,rs...,si->oi...", up, self.mid, self.down)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        if op.groups > 1:
            return _apply_dense(self, op, x, into)
        dtype = x.dtype if into is None else into.dtype
        up = self.up if _is_one(self.scale) else self.up * self.scale
        hidden = op.pointwise(x.to(dtype), self.down.to(dtype))
        return _sum(op.pointwise(op(hidden, self.mid.to(dtype)), up.to(dtype)), into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        kernel = self.mid[0, 0].numel()
        (out, rank), row = self.up.shape, self.down.shape[1] * kernel
        inputs = tokens * math.prod(op.stride)
        applied = 3.0 * rank * (tokens * (out + rank * kernel) + inputs * self.down.shape[1])
        return applied, (tokens + _ELEMENT) * out * row + 3.0 * rank * out * row


@dataclass(slots=True)
class Hadamard(Structure):
    """left ∘ right of two low ranks r, itself of rank r² at most: LoHa (Hyeon-Woo et al. 2021, arXiv 2108.06098).

    (B₁A₁) ∘ (B₂A₂) = B·A, where row o of B is b₁ₒ ⊗ b₂ₒ and column i of A is a₁ᵢ ⊗ a₂ᵢ (face-splitting products).
    """

    left: LowRank
    right: LowRank
    scale: float | Tensor = 1.0

    @exact
    def dense(self) -> Tensor:
        product = self.left.dense() * self.right.dense()
        return product if _is_one(self.scale) else product * self.scale

    def low_rank(self) -> LowRank:
        """The same change as one low rank of rank r²; its factors are exact products in the parameters' dtype."""
        up = (self.left.up.unsqueeze(2) * self.right.up.unsqueeze(1)).flatten(1)
        down = (self.left.down.unsqueeze(1) * self.right.down.unsqueeze(0)).flatten(0, 1)
        return LowRank(up, down, self.scale)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        return self.low_rank().apply(op, x, into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        out, row = self.left.up.shape[0], self.left.down[0].numel()
        rank, square = self.left.up.shape[1], self.left.up.shape[1] * self.right.up.shape[1]
        applied = (3.0 * tokens + _ELEMENT) * square * (out + row * op.groups)
        return applied, (tokens + 2 * _ELEMENT) * out * row + 6.0 * rank * out * row


@dataclass(slots=True)
class Kronecker(Structure):
    """scale · (outer ⊗ inner): LoKr. Channels split in two; each factor acts on its own half.

    The weight is Δ[i·k + j, p·n + q] = outer[i, p] · inner[j, q] with inner of [k, n, *kernel].
    """

    outer: Float[Tensor, "outer_out outer_in"]
    inner: Float[Tensor, "inner_out inner_in *kernel"]
    scale: float | Tensor = 1.0

    @exact
    def dense(self) -> Tensor:
        outer = self.outer if _is_one(self.scale) else self.outer * self.scale
        (a, b), (c, d, *kernel) = outer.shape, self.inner.shape
        product = outer.view(a, 1, b, 1, *(1,) * len(kernel)) * self.inner.unsqueeze(1)
        return product.reshape(a * c, b * d, *kernel)

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        if op.groups > 1:
            return _apply_dense(self, op, x, into)
        dtype = x.dtype if into is None else into.dtype
        outer = self.outer if _is_one(self.scale) else self.outer * self.scale
        x, outer, inner = x.to(dtype), outer.to(dtype), self.inner.to(dtype)
        change = _kronecker_linear(x, outer, inner) if op.dims == 0 else _kronecker_conv(op, x, outer, inner)
        return _sum(change, into)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        (a, b), (c, d) = self.outer.shape, (self.inner.shape[0], self.inner[0].numel())
        inner_first, outer_first = b * c * (d + a), a * d * (b + c)
        applied = 3.0 * tokens * min(inner_first, outer_first) * _SMALL_PRODUCT
        return (math.inf if op.groups > 1 else applied), (tokens + _ELEMENT) * a * b * c * d


def _kronecker_linear(x: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """[..., b·d] to [..., a·c], the factor that leaves less work first; group-major, so that each is one product."""
    (a, b), (c, d) = outer.shape, inner.shape
    groups = x.reshape(-1, b, d).transpose(0, 1)
    tokens = groups.shape[1]
    if b * c * (d + a) <= a * d * (b + c):
        hidden = torch.matmul(groups, inner.t()).reshape(b, tokens * c)
        result = (outer @ hidden).view(a, tokens, c)
    else:
        hidden = (outer @ groups.reshape(b, tokens * d)).view(a, tokens, d)
        result = torch.matmul(hidden, inner.t())
    return result.transpose(0, 1).reshape(*x.shape[:-1], a * c)


def _kronecker_conv(op: Operation, x: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """[batch, b·d, *space] to [batch, a·c, *space]: the inner factor is a small convolution, the outer one product."""
    (a, b), (c, d) = outer.shape, inner.shape[:2]
    batch, space = x.shape[0], x.shape[2:]
    if a < b:
        mixed = torch.matmul(outer, x.reshape(batch, b, -1)).view(batch * a, d, *space)
        result = op(mixed, inner)
        return result.reshape(batch, a * c, *result.shape[2:])
    hidden = op(x.reshape(batch * b, d, *space), inner)
    return torch.matmul(outer, hidden.reshape(batch, b, -1)).view(batch, a * c, *hidden.shape[2:])


def _apply_dense(structure: Structure, op: Operation, x: Tensor, into: Tensor | None) -> Tensor:
    dtype = x.dtype if into is None else into.dtype
    return _sum(op(x.to(dtype), structure.dense().to(dtype)), into)


def _sum(change: Tensor, into: Tensor | None) -> Tensor:
    return change if into is None else into.add_(change)


def _is_one(scale: float | Tensor) -> bool:
    return not isinstance(scale, Tensor) and scale == 1.0
