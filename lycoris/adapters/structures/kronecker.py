"""A Kronecker product of two factors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lycoris.adapters.structures.base import ELEMENT_COST, Structure, accumulate, full_precision, is_unit_scale
from lycoris.adapters.structures.operation import Operation

_Products = tuple[tuple[float, float], tuple[float, float]]
"""Products with the inner and with the outer factor: where the inner one goes first, and where the outer one does."""
_STEP: _Products = (4.0, 3.0), (3.0, 4.0)
"""Of a training step through the input, in which the intermediate result is computed again."""
_GRADIENTS: _Products = (2.0, 3.0), (3.0, 2.0)
"""Of the output and the factors' gradients."""
_OUTPUT: _Products = (1.0, 1.0), (1.0, 1.0)


@dataclass(slots=True)
class Kronecker(Structure):
    """ΔW = scale · (outer ⊗ inner): LoKr (KronA, Edalati et al. 2022, arXiv 2212.10650).

    ΔW[i·k + j, p·n + q] = scale · outer[i, p] · inner[j, q], with `inner` of [k, n, *kernel]. Channels are split in
    two, and each factor acts on its own half.
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

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        if op.groups > 1:
            return self.apply_dense(op, x, into)
        dtype = x.dtype if into is None else into.dtype
        outer = self.outer if is_unit_scale(self.scale) else self.outer * self.scale
        x, outer, inner = x.to(dtype), outer.to(dtype), self.inner.to(dtype)
        if op.dims == 0 and x.dim() != 2:
            flat = self.apply(op, x.reshape(-1, x.shape[-1]))
            return accumulate(flat.view(*x.shape[:-1], flat.shape[-1]), into)
        op, x = op.pad_input(x)
        if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _KroneckerFunction.apply(op, x, outer, inner, into)
        products = _GRADIENTS if torch.is_grad_enabled() else _OUTPUT
        return _apply_kronecker(op, x, outer, inner, into, self._inner_first(op, products))

    def _costs(self, op: Operation, products: _Products) -> tuple[float, float]:
        """Return the multiply-adds of an output position: with the inner factor first, and with the outer one first."""
        (a, b), (c, d) = self.outer.shape, (self.inner.shape[0], self.inner[0].numel())
        inputs = self.inner.shape[1] * math.prod(op.stride)  # the outer factor mixes inputs, without the kernel
        (inner, mixes), (inner_last, mixes_first) = products
        return inner * b * c * d + mixes * a * b * c, inner_last * a * c * d + mixes_first * a * b * inputs

    def _inner_first(self, op: Operation, products: _Products) -> bool:
        """Tell whether applying the inner factor first is cheaper."""
        inner_first, outer_first = self._costs(op, products)
        return inner_first < outer_first

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        size = self.outer.numel() * self.inner.numel()
        if op.groups > 1:
            return math.inf, (tokens + ELEMENT_COST) * size
        gradients = min(tokens * size, tokens * min(self._costs(op, _GRADIENTS)))
        return tokens * min(self._costs(op, _STEP)), gradients + ELEMENT_COST * size

    def grad_via_apply(self, op: Operation, tokens: int) -> bool:
        size = self.outer.numel() * self.inner.numel()
        return op.groups == 1 and min(self._costs(op, _GRADIENTS)) < size


def _apply_kronecker(
    op: Operation, x: Tensor, outer: Tensor, inner: Tensor, into: Tensor | None, inner_first: bool
) -> Tensor:
    """Map [rows, b·d, *space] to [rows, a·c, *space]: the inner factor is a small operation, the outer a mix."""
    (a, b), c = outer.shape, inner.shape[0]
    if inner_first:
        hidden = op(_split_groups(x, b), inner)
        return accumulate(_mix_groups(outer, hidden.reshape(x.shape[0], b * c, *hidden.shape[2:])), into)
    mixed = _split_groups(_mix_groups(outer, x), a)
    if op.dims == 0 and into is not None and into.is_contiguous():
        into.view(-1, c).addmm_(mixed, inner.t())
        return into
    update = op(mixed, inner)
    return accumulate(update.reshape(x.shape[0], a * c, *update.shape[2:]), into)


class _KroneckerFunction(torch.autograd.Function):
    """`_apply_kronecker` for training: saves only the input and the factors, and recomputes the rest in backward."""

    @staticmethod
    def forward(ctx, op: Operation, x: Tensor, outer: Tensor, inner: Tensor, into: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, outer, inner)
        ctx.op = op
        ctx.inner_first = Kronecker(outer, inner)._inner_first(op, _STEP)
        if into is not None:
            ctx.mark_dirty(into)
        return _apply_kronecker(op, x, outer, inner, into, ctx.inner_first)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, outer, inner), op = ctx.saved_tensors, ctx.op
        (a, b), rows = outer.shape, x.shape[0]
        into_gradient = gradient if ctx.needs_input_grad[4] else None
        if ctx.inner_first:
            groups = _split_groups(x, b)
            hidden = op(groups, inner)
            outer_gradient = _mix_gradient(gradient, hidden.reshape(rows, -1, *hidden.shape[2:]), a, b)
            hidden_gradient = _split_groups(_mix_groups(outer.t(), gradient), b)
            inner_gradient = op.weight_gradient(groups, inner, hidden_gradient)
            x_gradient = op.input_gradient(groups, inner, hidden_gradient).reshape(x.shape)
        else:
            mixed, gradient = _split_groups(_mix_groups(outer, x), a), _split_groups(gradient, a)
            inner_gradient = op.weight_gradient(mixed, inner, gradient)
            mixed_gradient = op.input_gradient(mixed, inner, gradient).reshape(rows, -1, *x.shape[2:])
            outer_gradient = _mix_gradient(mixed_gradient, x, a, b)
            x_gradient = _mix_groups(outer.t(), mixed_gradient)
        return None, x_gradient, outer_gradient, inner_gradient, into_gradient


def _split_groups(x: Tensor, groups: int) -> Tensor:
    """Reshape [rows, groups·channels, *space] to [rows·groups, channels, *space]."""
    return x.reshape(x.shape[0] * groups, x.shape[1] // groups, *x.shape[2:])


def _mix_groups(matrix: Float[Tensor, "new old"], x: Tensor) -> Tensor:
    """Mix groups of channels: [rows, old·channels, *space] to [rows, new·channels, *space]."""
    new, old = matrix.shape
    mixed = torch.bmm(matrix.expand(x.shape[0], new, old), x.reshape(x.shape[0], old, -1))
    return mixed.view(x.shape[0], -1, *x.shape[2:])


def _mix_gradient(gradient: Tensor, x: Tensor, new: int, old: int) -> Float[Tensor, "new old"]:
    """Return the gradient of the matrix in `_mix_groups`."""
    rows = x.shape[0]
    return torch.bmm(gradient.reshape(rows, new, -1), x.reshape(rows, old, -1).transpose(1, 2)).sum(0)
