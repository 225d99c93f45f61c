"""The layers that a file was made for, from its names and shapes alone, on the meta device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lycoris.adapters.algorithms.adapter import Algorithm, PartialShape
from lycoris.adapters.algorithms.norms import Norms
from lycoris.adapters.files.families import Family
from lycoris.adapters.files.module_paths import is_linear
from lycoris.errors import InputError

_MAX_ELEMENTS = 2**31
"""Number of elements that no model's weight reaches."""
_MAX_DEPTH = 40
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class MetaPart(nn.Module):
    """A part of a model that has only the layers of a file.

    Attributes:
        family: the family of a denoiser, where it is known.
        stands_for: the class of a text encoder.
    """

    family: Family | None = None
    stands_for: str | None = None


def meta_layer(
    name: str, algorithm: type[Algorithm], shape: PartialShape, path: str, kernel: object, bias: bool
) -> tuple[nn.Module, bool]:
    """Create a layer on the meta device.

    Args:
        name: in the file, for messages.
        algorithm: of the layer's adapter.
        shape: of the weight, as far as the tensors tell.
        path: of the module, which identifies some Linear layers.
        kernel: of the layer, where the header has it; [] for a Linear.
        bias: whether the layer must have one.

    Returns:
        The layer, and whether its weight's shape is certain.

    Raises:
        InputError: no model has such a weight.
    """
    certain = None not in shape
    if shape[2:] == (None,):
        out, row_size = shape[:2]
        assert row_size is not None  # only the last of three is unknown
        sizes = _kernel_sizes(kernel)
        certain = sizes is not None or is_linear(path)
        sizes = sizes or ()
        if row_size % math.prod(sizes):
            raise InputError(
                f"Layer `{name}` has {row_size} inputs times kernel, which the kernel {kernel} does not divide."
            )
        shape = (out, row_size // math.prod(sizes), *sizes)
    full_shape = tuple(1 if size is None else size for size in shape)
    if math.prod(full_shape) > _MAX_ELEMENTS or 0 in full_shape:
        raise InputError(f"Layer `{name}` has a weight of shape {list(full_shape)}, which no model has.")
    with torch.device("meta"):
        if issubclass(algorithm, Norms):
            return nn.LayerNorm(full_shape, bias=bias, dtype=torch.float64), True
        if len(full_shape) == 2:
            return nn.Linear(full_shape[1], full_shape[0], bias=bias, dtype=torch.float64), certain
        if len(full_shape) - 2 not in _CONVOLUTIONS:
            raise InputError(
                f"Layer `{name}` has a weight of shape {list(full_shape)}, which no Linear or convolution has."
            )
        convolution: Any = _CONVOLUTIONS[len(full_shape) - 2]
        return convolution(full_shape[1], full_shape[0], full_shape[2:], bias=bias, dtype=torch.float64), certain


def _kernel_sizes(kernel: object) -> tuple[int, ...] | None:
    """Return a header's kernel, where it is one."""
    if isinstance(kernel, list) and len(kernel) < 4 and all(type(size) is int and size > 0 for size in kernel):
        return tuple(kernel)
    return None


def meta_modules(layers: Mapping[tuple[str, str], nn.Module], family: Family | None) -> dict[str, nn.Module]:
    """Create parts with these layers: (part, path) → layer.

    Args:
        layers: the layers.
        family: of the denoiser, where it is known.

    Raises:
        InputError: no module can have such a path.
    """
    parts: dict[str, nn.Module] = {}
    for (part, path), layer in layers.items():
        module, names = parts.setdefault(part, _meta_part(part, path, family)), path.split(".")
        try:
            if len(names) > _MAX_DEPTH:
                raise KeyError("too deep")
            for name in names[:-1]:
                if name not in module._modules:
                    module.add_module(name, MetaPart())
                module = module.get_submodule(name)
            module.add_module(names[-1], layer)
        except (KeyError, TypeError) as error:
            raise InputError(f"Layer `{path[:200]}` has a name that no module can have: {error}.") from None
    return parts


def _meta_part(part: str, path: str, family: Family | None) -> MetaPart:
    module = MetaPart()
    if part in ("unet", "transformer"):
        module.family = family
    elif part.startswith("text"):
        is_t5 = path.startswith(("encoder.block.", "shared", "encoder.final"))
        module.stands_for = "T5EncoderModel" if is_t5 else "CLIPTextModel"
    return module
