"""`lycoris.functional` of trainers: an adapter's factors, its update and the update's output, as functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import ALGORITHMS
from lycoris.adapters.algorithms.diag_oft import Rotation, cayley
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.structures import Hadamard, Kronecker, LowRank, Operation, Structure, Tucker
from lycoris.errors import InputError

LayerArguments = Mapping[str, Any]
"""`stride`, `padding`, `dilation` and `groups` of a convolution."""
Factors = tuple[Tensor | None, ...]
_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


def layer_of(weight: Tensor) -> nn.Module:
    """Return a Linear layer or a convolution, without bias, that has a tensor as its weight.

    Raises:
        InputError: it has fewer than two dimensions or more than five.
    """
    if not 2 <= weight.dim() <= 5:
        raise InputError(f"Argument `weight` must have two to five dimensions, but has {weight.dim()}.")
    out, channels, *kernel = weight.shape
    layer_class: Any = _CONVOLUTIONS.get(weight.dim(), nn.Linear)
    with torch.device("meta"):
        layer: Any = layer_class(channels, out, *([tuple(kernel)] if kernel else []), bias=False)
    layer.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, requires_grad=False)
    return layer


def initial_factors(algorithm: str, weight: Tensor, names: tuple[str, ...], **options: Any) -> Factors:
    """Return the tensors that an adapter of a weight starts with; None for those that it does not have.

    Args:
        algorithm: name in `ALGORITHMS`.
        weight: of the layer.
        names: of the tensors in a file.
        options: of the algorithm.
    """
    adapter = ALGORITHMS[algorithm](TargetLayer("weight", layer_of(weight), any_rank=True), **options)
    tensors = adapter.state_tensors()
    return tuple(tensors[name].detach() if name in tensors else None for name in names)


def low_rank(factors: Factors, gamma: float | Tensor) -> Structure:
    """Return the update of (down, up, mid)."""
    down, up, mid = factors
    assert down is not None
    assert up is not None
    if mid is None:
        return LowRank(up.flatten(1), down, gamma)
    return Tucker(up.flatten(1), mid, down.flatten(1), gamma)


def hadamard(factors: Factors, gamma: float | Tensor) -> Structure:
    """Return the update of (w1d, w1u, w2d, w2u, t1, t2)."""
    w1d, w1u, w2d, w2u, t1, t2 = factors
    return Hadamard(_half(w1d, w1u, t1), _half(w2d, w2u, t2), gamma)


def _half(down: Tensor | None, up: Tensor | None, core: Tensor | None) -> LowRank:
    assert down is not None
    assert up is not None
    if core is None:
        return LowRank(up, down)
    return LowRank(up.t(), torch.einsum("rs...,si->ri...", core, down))


def kronecker(factors: Factors, gamma: float | Tensor) -> Structure:
    """Return the update of (w1, w1a, w1b, w2, w2a, w2b, t2), of which `gamma` is the alpha where there is a rank."""
    w1, w1a, w1b, w2, w2a, w2b, t2 = factors
    rank = next((each.shape[0] for each in (w1b, w2b) if each is not None), None)
    outer = w1 if w1 is not None else _product(w1a, w1b)
    if w2 is not None:
        inner = w2
    elif t2 is not None:
        assert w2a is not None
        assert w2b is not None
        inner = torch.einsum("rs...,rk,sn->kn...", t2, w2a, w2b)
    else:
        inner = _product(w2a, w2b)
    return Kronecker(outer, inner, 1.0 if rank is None else gamma / rank)


def _product(a: Tensor | None, b: Tensor | None) -> Tensor:
    assert a is not None
    assert b is not None
    return (a @ b.flatten(1)).view(-1, *b.shape[1:])


def rotation(weight: Tensor, factors: Factors, constraint: float | None) -> Rotation:
    """Return the update of (oft_blocks, rescale): Diag-OFT's with three dimensions, BOFT's with four.

    Args:
        weight: of the layer.
        factors: the tensors.
        constraint: largest norm of the skew blocks; None or 0 for none.
    """
    blocks, rescale = factors
    assert blocks is not None
    gain = None if rescale is None else rescale.flatten()
    matrices = cayley(blocks, constraint or 0.0)
    if blocks.dim() == 3:
        return Rotation(weight, (matrices.transpose(1, 2),), gain)
    return Rotation(weight, matrices.unbind(0), gain, butterfly=True)


def apply(structure: Structure, x: Tensor, arguments: LayerArguments) -> Tensor:
    """Return the output of an update as the layer's weight.

    Raises:
        InputError: arguments that a layer does not have.
    """
    dims = structure.dense().dim() - 2
    known = {"stride": 1, "padding": 0, "dilation": 1}
    if unknown := set(arguments) - {*known, "groups"}:
        raise InputError(f"Argument `extra_args` has `{min(unknown)}`; known: {', '.join(known)}, groups.")
    values = {name: arguments.get(name, default) for name, default in known.items()}
    sizes: dict[str, Any] = {
        name: (value,) * dims if isinstance(value, int) else tuple(value) for name, value in values.items()
    }
    return structure.apply(Operation(dims, **sizes, groups=arguments.get("groups", 1)), x)


def rotate_output(output: Tensor, factors: Factors, constraint: float | None, *, channels_second: bool) -> Tensor:
    """Return what a rotation adds to a layer's output.

    Args:
        output: of the layer without its bias.
        factors, constraint: as for `rotation`.
        channels_second: whether the channels are the second dimension, not the last one.
    """
    channels = output.shape[1 if channels_second else -1]
    structure = rotation(output.new_empty(channels, 0), factors, constraint)
    operation = Operation(output.dim() - 2 if channels_second else 0)
    return structure.apply(operation, output, base_output=output)


def split_output(values: tuple[Tensor | None, ...], count: int) -> Factors:
    """Return the factors of a call, in which versions of `lycoris-lora` have the layer's output first or not.

    Raises:
        InputError: there are neither `count` nor `count` + 1 of them.
    """
    if len(values) not in (count, count + 1):
        raise InputError(f"The call must have {count} factors, but got {len(values)}.")
    return values[-count:]
