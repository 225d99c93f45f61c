"""Adapter files of any dialect, read without a model: their keys split into layers and tensors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY
from lycoris.adapters.files.keys import EMBEDDING_PREFIXES, split_key
from lycoris.adapters.files.metadata import read_json_entry
from lycoris.adapters.files.peft.config import CONFIG_FILE, read_configs
from lycoris.adapters.files.peft.layout import tensor_files
from lycoris.adapters.files.peft.reader import KEY_PREFIX, detect_peft_type, from_peft
from lycoris.adapters.files.safetensors_io import FLOAT8, read_header, read_tensors
from lycoris.errors import InputError, list_names

_CHECKPOINT_KEY = re.compile(r"(?!base_model\.model\.).+\.(weight|bias)")
"""Keys of a model's own weights; PEFT writes trained biases under its own prefix."""

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
        keys: every key of the file.
        sources: the layer's name in the file → its keys.
        unread: keys that no adapter has, textual-inversion embeddings aside.
        embeddings: keys of textual-inversion embeddings, which are no part of an adapter.
    """

    path: str | PathLike[str]
    metadata: Mapping[str, str]
    layers: LayerTensors
    settings: dict[str, Any]
    layer_metadata: Callable[[str], Mapping[str, object]]
    bias_scaled_layers: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()


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
    algorithm = read_metadata(path).get("lycoris.algorithm", "")
    if algorithm.startswith("peft:"):
        raise InputError(
            f"File `{path}` is of `{algorithm}`, a method of PEFT, whose layers are not of this library: "
            "`lycoris.load` attaches it, and format `peft` of its `save` is for other tools."
        )
    layers: dict[str, Mapping[str, Tensor]] = {}
    sources: dict[str, Sequence[str]] = {}
    metadata: dict[str, str] = {}
    bias_scaled: set[str] = set()
    keys, unread, embeddings = set[str](), list[str](), list[str]()
    for part, file in tensor_files(path).items():
        file_metadata, tensors = read_tensors(file)
        metadata = metadata or file_metadata
        grouped = _group_by_layer(file, tensors)
        file_layers, file_bias_scaled = _to_lycoris_names(file, file_metadata, grouped.layers)
        names = {name: f"{part}.{name.removeprefix(KEY_PREFIX)}" if part else name for name in file_layers}
        layers |= {names[name]: values for name, values in file_layers.items()}
        sources |= {names[name]: [f"{part}/{key}" if part else key for key in grouped.sources[name]] for name in names}
        bias_scaled |= {names[name] for name in file_bias_scaled}
        keys |= {f"{part}/{key}" if part else key for key in tensors}
        unread += grouped.unread
        embeddings += grouped.embeddings
    if not layers:
        raise InputError(f"File `{path}` holds no adapter: {_describe_unread(unread)}.")
    settings = read_json_entry(path, metadata, "lycoris.settings")
    shared = {**settings, "algorithm": metadata.get("lycoris.algorithm")}
    by_layer = read_json_entry(path, metadata, "lycoris.layers")

    def layer_metadata(key: str) -> Mapping[str, object]:
        return by_layer[key] if isinstance(by_layer.get(key), dict) else shared

    return AdapterFile(
        path,
        metadata,
        layers,
        settings,
        layer_metadata,
        frozenset(bias_scaled),
        keys=frozenset(keys),
        sources=sources,
        unread=tuple(unread),
        embeddings=tuple(embeddings),
    )


def _describe_unread(unread: Sequence[str]) -> str:
    shown = list_names(unread)
    if 2 * len([key for key in unread if _CHECKPOINT_KEY.fullmatch(key)]) > len(unread):
        return f"it is a checkpoint of a model, with {len(unread)} keys: {shown}"
    return f"its {len(unread)} keys end in no tensor's name: {shown}" if unread else "it has no layer at all"


@dataclass
class _Grouped:
    """The keys of one file, by layer."""

    layers: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    embeddings: list[str] = field(default_factory=list)


def _group_by_layer(path: Path, tensors: Mapping[str, Tensor]) -> _Grouped:
    grouped = _Grouped()
    for key, values in tensors.items():
        if key.startswith(EMBEDDING_PREFIXES):
            grouped.embeddings.append(key)
            continue
        split = split_key(key)
        if split is None:
            grouped.unread.append(key)
            continue
        layer, name = split
        if name in grouped.layers.setdefault(layer, {}):
            raise InputError(f"File `{path}` has the tensor `{name}` of layer `{layer}` twice, under two names.")
        grouped.layers[layer][name] = values.to(torch.float16) if values.dtype in FLOAT8 else values
        grouped.sources.setdefault(layer, []).append(key)
    return grouped


_DORA_NAMES = {"lora_magnitude_vector": DORA_SCALE_KEY}
"""diffusers writes PEFT's magnitudes beside tensors of other names."""


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
            converted[name] = {_DORA_NAMES.get(key, key): values for key, values in tensors.items()}
            continue
        layer = name.removeprefix(KEY_PREFIX)
        part, _, rest = layer.partition(".")
        config = configs.get(part, configs.get(""))
        converted[name] = from_peft(path, rest if part in configs else layer, peft_types[name], tensors, config)
    bias_scaled = [
        name for name, peft_type in peft_types.items() if peft_type == "IA3" and not converted[name]["on_input"].item()
    ]
    return converted, bias_scaled
