"""A layer's operation with updates added to its weight, saving for backward no more than the frozen layer does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lycoris.adapters.structures import Operation, Structure


def forward_merged(
    op: Operation, x: Tensor, weight: Tensor, bias: Tensor | None, structures: Sequence[Structure]
) -> Tensor:
    """Return op(x, W + Σ ΔW) for a frozen weight.

    Backward builds the new weight again instead of saving it, and computes the factors' gradients in the cheaper way.

    Args:
        op: the layer's operation.
        x: [rows, in] for Linear, [batch, in, *space] for convolutions.
        weight: frozen, [out, in / groups, *kernel], in the dtype of `x`.
        bias: [out] or None; it may be trained.
        structures: the updates.

    Returns:
        [rows, out] or [batch, out, *space].
    """
    op, x = op.pad_input(x)
    tensors = [tensor for structure in structures for tensor in structure.tensors()]
    # hooks that cast or offload a frozen weight after the forward pass change its parameter, but not an alias of it
    tensors = [tensor if tensor.requires_grad else tensor.detach() for tensor in tensors]
    return _ForwardMerged.apply(op, tuple(structures), x, weight.detach(), bias, *tensors)


_PLACEHOLDER = torch.zeros(())


class _ForwardMerged(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op, structures, x, weight, bias, *tensors):
        ctx.save_for_backward(x, weight, *tensors)
        ctx.op, ctx.templates = op, [_without_tensors(structure) for structure in structures]
        return op(x, _merged_weight(weight, structures), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight, *tensors = ctx.saved_tensors
        _, _, needs_x, _, needs_bias, *needs_tensors = ctx.needs_input_grad
        tensors = [t.detach().requires_grad_(needed) for t, needed in zip(tensors, needs_tensors, strict=True)]
        remaining = iter(tensors)
        structures = [template.with_tensors(remaining) for template in ctx.templates]
        x_gradient = ctx.op.input_gradient(x, _merged_weight(weight, structures), gradient) if needs_x else None
        bias_gradient = gradient.sum((0, *range(2, gradient.dim()))) if needs_bias else None
        trained = [tensor for tensor in tensors if tensor.requires_grad]
        gradients = iter(_structure_gradients(ctx.op, x, weight, gradient, structures, trained))
        tensor_gradients = (next(gradients) if needed else None for needed in needs_tensors)
        return None, None, x_gradient, None, bias_gradient, *tensor_gradients


def _structure_gradients(
    op: Operation, x: Tensor, weight: Tensor, gradient: Tensor, structures: list[Structure], tensors: list[Tensor]
) -> Sequence[Tensor | None]:
    """Return the gradients of the structures' tensors, through `apply` or through the weight's gradient."""
    structures = [each for each in structures if any(tensor.requires_grad for tensor in each.tensors())]
    if not structures:
        return ()
    tokens = gradient.numel() // gradient.shape[1]
    via_apply = [structure.grad_via_apply(op, tokens) for structure in structures]
    weight_gradient = gradient if all(via_apply) else op.weight_gradient(x, weight, gradient)
    with torch.enable_grad():
        outputs = [
            structure.apply(op, x.detach()) if applied else structure.dense()
            for structure, applied in zip(structures, via_apply, strict=True)
        ]
    output_gradients = [
        gradient if applied else weight_gradient.to(output.dtype)
        for output, applied in zip(outputs, via_apply, strict=True)
    ]
    return torch.autograd.grad(outputs, tensors, output_gradients, allow_unused=True)


def _without_tensors(structure: Structure) -> Structure:
    """Return a structure of the same shapes that holds no memory."""
    return structure.with_tensors(_PLACEHOLDER.expand(tensor.shape) for tensor in structure.tensors())


@torch.no_grad()
def _merged_weight(weight: Tensor, structures: Sequence[Structure]) -> Tensor:
    for structure in structures:
        weight = structure.add_to(weight)
    return weight
