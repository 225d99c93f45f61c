"""Weight files as trainers save and load them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.safetensors_io import FLOAT8, read_tensors, write_tensors
from lycoris.adapters.files.state_dict import build_adapter
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.drop_in.algorithms import MODULES
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.drop_in.network_options import NetworkOptions, trainer_options
from lycoris.drop_in.options import LOGGER, algorithm_name
from lycoris.drop_in.timestep_mask import TLoraModule
from lycoris.errors import InputError, list_names

LayerTensors = Mapping[str, Mapping[str, Tensor]]
"""A layer's name in a file → name of a tensor → values."""


def read_weights(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or of what `torch.save` wrote.

    Raises:
        InputError: it cannot be read, or is no dict of tensors.
    """
    if Path(path).suffix == ".safetensors":
        return read_tensors(path)[1]
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"Cannot read `{path}`: {error}") from None
    if not isinstance(tensors, dict) or not all(isinstance(values, Tensor) for values in tensors.values()):
        raise InputError(f"File `{path}` must hold a dict of tensors.")
    return tensors


def write_weights(
    path: str | PathLike[str],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None,
    metadata: Mapping[str, str] | None,
) -> None:
    """Write a safetensors file, or by any other ending what `torch.load` reads.

    Args:
        path: of the file, which appears once it is complete.
        tensors: key → values.
        dtype: of the tensors; None is their own. Alpha keeps its own where that one would change its value.
        metadata: strings for the header of a safetensors file.

    Raises:
        InputError: metadata that is not strings, values that overflow in the dtype, or a file that cannot be written.
    """
    converted = {key: _convert(key, values.detach().cpu(), dtype) for key, values in tensors.items()}
    if Path(path).suffix == ".safetensors":
        write_tensors(path, converted, {"format": "pt", **(metadata or {})})
    else:
        torch.save({key: values.clone() for key, values in converted.items()}, path)


def _convert(key: str, values: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not values.is_floating_point():
        return values
    converted = values.to(dtype)
    if key.endswith(".alpha") and not torch.equal(converted.to(values.dtype), values):
        return values
    if values.isfinite().all() and not converted.isfinite().all():
        raise InputError(f"Tensor `{key}` overflows in {dtype}.")
    return converted


def group_by_layer(tensors: Mapping[str, Tensor]) -> LayerTensors:
    """Return the tensors by the layer's name, which is before the first dot; keys without a dot are logged."""
    layers: dict[str, dict[str, Tensor]] = {}
    unread = [key for key in tensors if "." not in key]
    if unread:
        LOGGER.warning("Keys of no layer were left out: %s.", list_names(unread, 5))
    for key, values in tensors.items():
        if "." in key:
            layer, name = key.split(".", 1)
            layers.setdefault(layer, {})[name] = values.to(torch.float16) if values.dtype in FLOAT8 else values
    return layers


@dataclass(frozen=True)
class WeightFile:
    """What a trainer's call creates a network from.

    Attributes:
        source: the file, for messages.
        tensors: key → values.
        layers: the same by layer.
        algorithm: which of several that have the same keys; None where the keys decide.
    """

    source: str
    tensors: Mapping[str, Tensor]
    layers: LayerTensors
    algorithm: object

    def modules(self, model: nn.Module, prefix: str) -> list[LycorisBaseModule]:
        """Return what `build_modules` builds of it."""
        return build_modules(self.source, self.layers, model, prefix, self.algorithm)


def open_weights(
    file: str | PathLike[str] | None, weights: Mapping[str, Tensor] | None, options: Mapping[str, object]
) -> WeightFile:
    """Read the file or the tensors of a trainer's call.

    Args:
        file: its path; without effect where there are tensors.
        weights: key → values.
        options: of the call, which only have to be known: the file decides.

    Raises:
        InputError: neither is there, the file cannot be read, or an option is unknown.
    """
    known = trainer_options(options)
    known.pop("preset", None)
    NetworkOptions.from_call(known)
    if weights is not None:
        tensors = weights
    elif file is not None:
        tensors = read_weights(file)
    else:
        raise InputError("Give either `file` or `weights_sd`, but got neither.")
    return WeightFile(str(file or "weights_sd"), tensors, group_by_layer(tensors), known.get("algo"))


def build_modules(
    path: str, layers: LayerTensors, model: nn.Module, prefix: str, algorithm: object = None
) -> list[LycorisBaseModule]:
    """Return a module for each layer of a model that a file has.

    Args:
        path: of the file, for messages.
        layers: the file's.
        model: the model.
        prefix: before the layer's path in its name.
        algorithm: which of several that have the same keys.

    Raises:
        InputError: tensors fit no algorithm or not the layer.
    """
    hint: Mapping[str, object] = {} if algorithm is None else {"algorithm": algorithm_name(algorithm)}
    metadata: Callable[[str], Mapping[str, object]] = lambda _: hint  # noqa: E731
    file = AdapterFile(path, {}, layers, {}, metadata)
    modules: list[LycorisBaseModule] = []
    for name, layer in model.named_modules():
        lora_name = f"{prefix}_{name}".replace(".", "_")
        if lora_name in layers and isinstance(layer, MATRIX_LAYERS + NORM_LAYERS):
            if "lambda_layer" in layers[lora_name]:
                modules.append(TLoraModule.from_lambda_tensors(lora_name, layer, layers[lora_name]))
                continue
            reference = LayerRef("model", "model", name, lora_name, layer)
            adapter: Adapter = build_adapter(file, reference, layers[lora_name], None)
            modules.append(MODULES[adapter.algorithm].from_adapter(lora_name, layer, adapter))
    return modules


def name_unmatched(path: str, layers: LayerTensors, modules: list[LycorisBaseModule]) -> None:
    """Log the layers of a file that the model lacks.

    Raises:
        InputError: it lacks all.
    """
    left = sorted(set(layers) - {module.lora_name for module in modules})
    if layers and not modules:
        raise InputError(f"{path}: the model has none of its {len(layers)} layers, such as {list_names(left)}.")
    if left:
        LOGGER.warning("%s: the model lacks %d of its layers: %s.", path, len(left), list_names(left, 5))
