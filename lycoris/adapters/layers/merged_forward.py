"""A layer's operation with changes built onto its weight, keeping for the backward what the frozen layer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lycoris.adapters.structures.structures import Operation, Structure


def forward_merged(
    op: Operation, x: Tensor, weight: Tensor, bias: Tensor | None, structures: Sequence[Structure]
) -> Tensor:
    """op(x, W + Σ ΔW) for a frozen weight.

    The new weight is built again for the backward instead of kept, and a change's factors learn by its cheaper way.

    Args:
        op: the layer's operation.
        x: [rows, in] for Linear, [batch, in, *space] for convolutions.
        weight: frozen, [out, in / groups, *kernel], in the dtype of `x`.
        bias: [out] or None; it may train.
        structures: the changes.

    Returns:
        [rows, out] or [batch, out, *space].
    """
    op, x = op.pad_input(x)
    tensors = [tensor for structure in structures for tensor in structure.tensors()]
    return _ForwardMerged.apply(op, tuple(structures), x, weight, bias, *tensors)


_EMPTY = torch.empty(0)


class _ForwardMerged(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op, structures, x, weight, bias, *tensors):
        ctx.save_for_backward(x, weight, *tensors)
        ctx.op, ctx.forms = op, [structure.of(repeat(_EMPTY)) for structure in structures]
        return op(x, _merged_weight(weight, structures), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight, *tensors = ctx.saved_tensors
        _, _, x_learns, _, bias_learns, *learns = ctx.needs_input_grad
        tensors = [tensor.detach().requires_grad_(wanted) for tensor, wanted in zip(tensors, learns, strict=True)]
        rest = iter(tensors)
        structures = [form.of(rest) for form in ctx.forms]
        of_x = ctx.op.input_gradient(x, _merged_weight(weight, structures), gradient) if x_learns else None
        of_bias = gradient.sum((0, *range(2, gradient.dim()))) if bias_learns else None
        learned = iter(
            _structure_gradients(ctx.op, x, weight, gradient, structures, [t for t in tensors if t.requires_grad])
        )
        return None, None, of_x, None, of_bias, *(next(learned) if wanted else None for wanted in learns)


def _structure_gradients(
    op: Operation, x: Tensor, weight: Tensor, gradient: Tensor, structures: list[Structure], tensors: list[Tensor]
) -> Sequence[Tensor | None]:
    """The gradients of the structures' tensors, by way of `apply` or of the weight's gradient."""
    structures = [each for each in structures if any(tensor.requires_grad for tensor in each.tensors())]
    if not structures:
        return ()
    tokens = gradient.numel() // gradient.shape[1]
    ways = [structure.grad_via_apply(op, tokens) for structure in structures]
    of_weight = gradient if all(ways) else op.weight_gradient(x, weight, gradient)  # all applied: nothing asks for it
    with torch.enable_grad():
        made = [s.apply(op, x.detach()) if applied else s.dense() for s, applied in zip(structures, ways, strict=True)]
    given = [gradient if applied else of_weight.to(m.dtype) for m, applied in zip(made, ways, strict=True)]
    return torch.autograd.grad(made, tensors, given, allow_unused=True)


@torch.no_grad()
def _merged_weight(weight: Tensor, structures: Sequence[Structure]) -> Tensor:
    for structure in structures:
        weight = structure.add_to(weight)
    return weight
