"""Adapter files of any format, read without a model: LyCORIS / kohya, PEFT or diffusers, identified by their keys."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris.adapters.files.metadata import read_json_entry
from lycoris.adapters.files.peft.config import CONFIG_FILE, read_configs
from lycoris.adapters.files.peft.layout import tensor_files
from lycoris.adapters.files.peft.reader import KEY_PREFIX, detect_peft_type, from_peft, split_peft_key
from lycoris.adapters.files.safetensors_io import read_header, read_tensors
from lycoris.errors import InputError

LayerTensors = Mapping[str, Mapping[str, Tensor]]
"""Name of a layer in the file → name of a tensor → values."""


@dataclass(frozen=True)
class AdapterFile:
    """A file's content, before its layers are matched with a model.

    Attributes:
        path: of the file, for messages.
        metadata: the header's strings.
        layers: the layer's name in the file → LyCORIS's name of a tensor → values.
        settings: arguments that the network was created with; empty for files of other tools.
        layer_metadata: the layer's LyCORIS name → algorithm, and options that the tensors cannot tell.
        bias_scaled_layers: layers whose bias is multiplied as the weight is, as PEFT's (IA)³ does on outputs.
    """

    path: str | PathLike[str]
    metadata: Mapping[str, str]
    layers: LayerTensors
    settings: dict[str, Any]
    layer_metadata: Callable[[str], Mapping[str, object]]
    bias_scaled_layers: frozenset[str] = frozenset()


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """Read the strings in a file's header: ours (`lycoris.*`), kohya's (`ss_*`) and what the writer added.

    Raises:
        InputError: neither a safetensors file nor a PEFT folder.
    """
    return read_header(next(iter(tensor_files(path).values())))[0]


def read_adapter_file(path: str | PathLike[str]) -> AdapterFile:
    """Read a file of any format, or a PEFT folder.

    Warns:
        UserWarning: a PEFT file has no configuration, so that alpha is taken to be the rank.

    Raises:
        InputError: not an adapter file, or one without a layer.
    """
    layers: dict[str, Mapping[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    bias_scaled: set[str] = set()
    for part, file in tensor_files(path).items():
        file_metadata, tensors = read_tensors(file)
        metadata = metadata or file_metadata
        file_layers, file_bias_scaled = _to_lycoris_names(file, file_metadata, _group_by_layer(file, tensors))
        names = {name: f"{part}.{name.removeprefix(KEY_PREFIX)}" if part else name for name in file_layers}
        layers |= {names[name]: values for name, values in file_layers.items()}
        bias_scaled |= {names[name] for name in file_bias_scaled}
    if not layers:
        raise InputError(f"File `{path}` holds no adapter: it has no layer at all.")
    settings = read_json_entry(path, metadata, "lycoris.settings")
    shared = {**settings, "algorithm": metadata.get("lycoris.algorithm")}
    by_layer = read_json_entry(path, metadata, "lycoris.layers")

    def layer_metadata(key: str) -> Mapping[str, object]:
        return by_layer[key] if isinstance(by_layer.get(key), dict) else shared

    return AdapterFile(path, metadata, layers, settings, layer_metadata, frozenset(bias_scaled))


_DIFFUSERS_NAMES = {"lora.down.weight": "lora_down.weight", "lora.up.weight": "lora_up.weight"}


def _group_by_layer(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for key, values in tensors.items():
        layer, name = _split_key(key)
        if name in layers.setdefault(layer, {}):
            raise InputError(f"File `{path}` has the tensor `{name}` of layer `{layer}` twice, under two names.")
        layers[layer][name] = values
    return layers


def _split_key(key: str) -> tuple[str, str]:
    """Split a key into layer and tensor: kohya's at the first dot, dotted ones where a known tensor begins."""
    for ending, name in _DIFFUSERS_NAMES.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], name
    split = split_peft_key(key)
    if split is not None:
        return split
    layer, _, name = key.partition(".")
    return layer, name


def _to_lycoris_names(path: Path, metadata: Mapping[str, str], layers: LayerTensors) -> tuple[LayerTensors, list[str]]:
    """Return the layers with LyCORIS's names of all tensors, and the layers whose bias is multiplied too."""
    detected = {name: detect_peft_type(name, tensors) for name, tensors in layers.items()}
    peft_types = {name: peft_type for name, peft_type in detected.items() if peft_type is not None}
    peft_names = any(name.startswith(KEY_PREFIX) for name in peft_types)
    configs = read_configs(path, metadata, peft_names=peft_names) if peft_types else {}
    if peft_names and not configs and set(peft_types.values()) != {"IA3"}:
        warnings.warn(
            f"File `{path}` is PEFT's, without the {CONFIG_FILE} that has alpha: alpha is taken to be the rank, "
            "which is a scale of 1.",
            stacklevel=4,
        )
    converted: dict[str, Mapping[str, Tensor]] = {}
    for name, tensors in layers.items():
        if name not in peft_types:
            converted[name] = tensors
            continue
        layer = name.removeprefix(KEY_PREFIX)
        part, _, rest = layer.partition(".")
        config = configs.get(part, configs.get(""))
        converted[name] = from_peft(path, rest if part in configs else layer, peft_types[name], tensors, config)
    bias_scaled = [
        name for name, peft_type in peft_types.items() if peft_type == "IA3" and not converted[name]["on_input"].item()
    ]
    return converted, bias_scaled
