"""The layers that a file was made for, from its names and shapes alone, on the meta device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape
from lycoris.adapters.algorithms.norms import Norms
from lycoris.adapters.files.layer_names import PIPELINE_PARTS
from lycoris.adapters.files.module_paths import dotted_path, is_linear, part_from_path, text_encoder_part
from lycoris.errors import InputError

_MAX_ELEMENTS = 2**31
"""Elements of a weight that no model has."""
_MAX_DEPTH = 40
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class MetaPart(nn.Module):
    """A part of a model of which only the layers that a file has are there."""


def resolve_layer_paths(names: list[str]) -> dict[str, tuple[str, str, bool]]:
    """For each layer's name in a file: part, path, and whether the path is certain.

    Where it is not, the path is the name as it is, with `_` for every dot.
    """
    prefixes = {name.split("_", 2)[0] + "_" + name.split("_", 2)[1] for name in names if name.startswith("lora_te")}
    bodies = {name: name.removeprefix("lora_unet_") for name in names if name.startswith("lora_unet_")}
    paths = {name: dotted_path(body) for name, body in bodies.items()}
    transformer = any(path is not None and part_from_path(path) == "transformer" for path in paths.values())
    found = {}
    for name in names:
        if name in bodies:
            part, body = "transformer" if transformer else "unet", bodies[name]
        elif name.startswith("lora_te"):
            prefix, _, body = name[len("lora_") :].partition("_")
            part = text_encoder_part(f"lora_{prefix}", prefixes, transformer)
        elif name.startswith("lycoris_"):
            part, body = "model", name.removeprefix("lycoris_")
        else:
            whole = name.removeprefix("base_model.model.")
            part, _, rest = whole.partition(".")
            part, whole = (part, rest) if part in PIPELINE_PARTS and rest else (part_from_path(whole), whole)
            clip = part.startswith("text") and whole.startswith(("encoder.layers.", "final_layer_norm", "embeddings."))
            found[name] = (part, f"text_model.{whole}" if clip else whole, True)
            continue
        path = dotted_path(body)
        found[name] = (part, body if path is None else path, path is not None)
    return found


def meta_layer(
    name: str, kind: type[Adapter], shape: PartialShape, path: str, kernel: object, bias: bool
) -> tuple[nn.Module, bool]:
    """A layer on the meta device, and whether its weight's shape is certain.

    Args:
        name: in the file, for messages.
        kind: the algorithm.
        shape: of the weight, as far as the tensors tell.
        path: of the module, which tells some Linear layers.
        kernel: of the layer, where the header has it; [] for a Linear.
        bias: whether the layer must have one.

    Raises:
        InputError: a weight that no model has.
    """
    certain = None not in shape
    if shape[2:] == (None,):
        out, row = shape[:2]
        assert row is not None  # no more than the last of three is unknown
        known = isinstance(kernel, list) and all(type(size) is int and size > 0 for size in kernel) and len(kernel) < 4
        sizes = tuple(kernel) if known and isinstance(kernel, list) else ()
        certain = known or is_linear(path)
        if row % math.prod(sizes):
            raise InputError(
                f"Layer `{name}` has {row} inputs times kernel, which the kernel {kernel} does not divide."
            )
        shape = (out, row // math.prod(sizes), *sizes)
    whole = tuple(1 if size is None else size for size in shape)
    if math.prod(whole) > _MAX_ELEMENTS or 0 in whole:
        raise InputError(f"Layer `{name}` has a weight of shape {list(whole)}, which no model has.")
    with torch.device("meta"):
        if issubclass(kind, Norms):
            return nn.LayerNorm(whole, bias=bias, dtype=torch.float64), True
        if len(whole) == 2:
            return nn.Linear(whole[1], whole[0], bias=bias, dtype=torch.float64), certain
        if len(whole) - 2 not in _CONVOLUTIONS:
            raise InputError(f"Layer `{name}` has a weight of shape {list(whole)}, which no Linear or convolution has.")
        make: Any = _CONVOLUTIONS[len(whole) - 2]
        return make(whole[1], whole[0], whole[2:], bias=bias, dtype=torch.float64), certain


def meta_modules(layers: Mapping[tuple[str, str], nn.Module]) -> dict[str, nn.Module]:
    """Parts that have these layers: (part, path) → layer.

    Raises:
        InputError: a path that no module can have.
    """
    parts: dict[str, nn.Module] = {}
    for (part, path), layer in layers.items():
        module, names = parts.setdefault(part, MetaPart()), path.split(".")
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
