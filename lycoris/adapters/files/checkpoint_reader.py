"""What an adapter file holds, by its keys: LyCORIS / kohya, PEFT or diffusers. No model is asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris.adapters.files.metadata import read_json_entry
from lycoris.adapters.files.peft import config as peft_config
from lycoris.adapters.files.peft import reader
from lycoris.adapters.files.peft.layout import tensor_files
from lycoris.adapters.files.safetensors_io import read_tensors
from lycoris.errors import InputError


@dataclass(frozen=True)
class AdapterFile:
    """A file as it is, before it is known what its layers are.

    Attributes:
        path: of the file, for messages.
        metadata: the header's strings.
        layers: the layer's name in the file → tensor, under LyCORIS's name for it → values.
        settings: what the network was made with; empty for files of others.
        memory: the layer's LyCORIS name → algorithm and options that the tensors cannot tell.
        with_bias: names of the layers whose bias is multiplied as the weight is, as PEFT's (IA)³ does on outputs.
    """

    path: str | PathLike[str]
    metadata: Mapping[str, str]
    layers: Mapping[str, Mapping[str, Tensor]]
    settings: dict[str, Any]
    layer_metadata: Callable[[str], Mapping[str, object]]
    bias_scaled_layers: frozenset[str] = frozenset()


def read_adapter_file(path: str | PathLike[str]) -> AdapterFile:
    """Read a file of any format, or a folder of PEFT.

    Warns:
        UserWarning: a PEFT file without its configuration, so that alpha is taken to be the rank.

    Raises:
        InputError: not such a file, or one without a layer.
    """
    layers: dict[str, Mapping[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    with_bias: set[str] = set()
    for part, file in tensor_files(path).items():
        strings, tensors = read_tensors(file)
        metadata = metadata or strings
        found, gains = _to_lycoris_names(file, strings, _group_by_layer(file, tensors))
        inside = {name: f"{part}.{name.removeprefix(reader.KEY_PREFIX)}" if part else name for name in found}
        layers |= {inside[name]: values for name, values in found.items()}
        with_bias |= {inside[name] for name in gains}
    if not layers:
        raise InputError(f"File `{path}` holds no adapter: it has no layer at all.")
    settings = read_json_entry(path, metadata, "lycoris.settings")
    shared = {**settings, "algorithm": metadata.get("lycoris.algorithm")}
    own = read_json_entry(path, metadata, "lycoris.layers")
    memory = lambda key: own[key] if isinstance(own.get(key), dict) else shared  # noqa: E731
    return AdapterFile(path, metadata, layers, settings, memory, frozenset(with_bias))


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
    """A key as layer and tensor: kohya's names end at the first dot, dotted ones where a known tensor begins."""
    for ending, name in _DIFFUSERS_NAMES.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], name
    found = reader.split_peft_key(key)
    if found is not None:
        return found
    layer, _, name = key.partition(".")
    return layer, name


def _to_lycoris_names(
    path: Path, metadata: Mapping[str, str], layers: Mapping[str, Mapping[str, Tensor]]
) -> tuple[dict[str, Mapping[str, Tensor]], list[str]]:
    """The layers with every tensor as LyCORIS has it, and those whose bias is multiplied too."""
    kinds = {name: kind for name, own in layers.items() if (kind := reader.detect_peft_type(name, own)) is not None}
    own_names = any(name.startswith(reader.KEY_PREFIX) for name in kinds)
    configs = peft_config.read_configs(path, metadata, peft_names=own_names) if kinds else {}
    if own_names and not configs and set(kinds.values()) != {"IA3"}:
        warnings.warn(
            f"File `{path}` is PEFT's, without the {peft_config.CONFIG_FILE} that has alpha: alpha is taken to be the rank, "  # noqa: E501
            "which is a scale of 1.",
            stacklevel=4,
        )
    found: dict[str, Mapping[str, Tensor]] = {}
    for name, own in layers.items():
        if name not in kinds:
            found[name] = own
            continue
        layer = name.removeprefix(reader.KEY_PREFIX)
        part, _, rest = layer.partition(".")
        config = configs.get(part, configs.get(""))
        found[name] = reader.from_peft(path, rest if part in configs else layer, kinds[name], own, config)
    gains = [name for name, kind in kinds.items() if kind == "IA3" and not found[name]["on_input"].item()]
    return found, gains
