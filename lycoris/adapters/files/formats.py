"""Adapter files written in the formats of LyCORIS / kohya, PEFT and diffusers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import LayerAdapter, build_metadata
from lycoris.adapters.files.peft.config import CONFIG_FILE, CONFIG_KEY
from lycoris.adapters.files.peft.export_config import build_config
from lycoris.adapters.files.peft.layout import output_files
from lycoris.adapters.files.peft.reader import KEY_PREFIX
from lycoris.adapters.files.peft.writer import PeftLayer, to_peft
from lycoris.adapters.files.safetensors_io import atomic_write_bytes, write_tensors
from lycoris.errors import InputError, unknown_name_error

FORMATS = ("lycoris", "peft", "diffusers")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class AdapterSet:
    """Adapters to write, on a model or not.

    Attributes:
        layer_adapters: each layer and its adapter.
        algorithm: name in `ALGORITHMS`, or ``"mixed"``.
        settings: arguments that the network was created with, as plain JSON values.
    """

    layer_adapters: Sequence[LayerAdapter]
    algorithm: str
    settings: Mapping[str, Any]


def write_adapters(
    path: str | PathLike[str], adapters: AdapterSet, *, format: str, metadata: Mapping[str, str], dtype: str
) -> None:
    """Write adapters as a file, or as a PEFT folder.

    Args:
        path: of the file or folder.
        adapters: the adapters.
        format: a name of `FORMATS`.
        metadata: further strings for the header.
        dtype: of the tensors, a name of `PRECISIONS`; alpha keeps its own.

    Raises:
        InputError: an unknown format or dtype, an algorithm that the format cannot hold, or values that overflow.
    """
    if format not in FORMATS:
        raise unknown_name_error("format", format, FORMATS)
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    if format == "peft":
        _write_peft(path, adapters, metadata, dtype)
        return
    to_tensors = _diffusers_tensors if format == "diffusers" else _lycoris_tensors
    tensors: dict[str, Tensor] = {}
    for layer, adapter in adapters.layer_adapters:
        tensors |= to_tensors(layer, adapter)
    header = build_metadata(adapters.layer_adapters, adapters.algorithm, adapters.settings, format)
    write_tensors(path, {name: _cast(name, values, dtype) for name, values in tensors.items()}, {**header, **metadata})


def can_hold(format: str, path: str | PathLike[str], layer_adapters: Sequence[LayerAdapter]) -> bool:
    """Tell whether a format can hold these adapters without converting them, at this path."""
    if format == "peft":
        try:
            return bool(list(_peft_files(path, layer_adapters)))
        except InputError:
            return False
    return format != "diffusers"


@dataclass(frozen=True)
class _PeftFile:
    """A file to write, with its configuration beside it or, the scale then being in the tensors, in its header."""

    path: Path
    layers: list[PeftLayer]
    config: dict[str, object]
    config_beside: bool


def _write_peft(path: str | PathLike[str], adapters: AdapterSet, metadata: Mapping[str, str], dtype: str) -> None:
    complete = []
    for file in _peft_files(path, adapters.layer_adapters):
        tensors: dict[str, Tensor] = {}
        for peft_layer in file.layers:
            for name, values in peft_layer.tensors.items():
                key = f"{KEY_PREFIX}{peft_layer.layer.path}.{name}"
                if key in tensors:
                    raise InputError(f"Two layers would share the key `{key}`: give a folder instead of `{path}`.")
                tensors[key] = _cast(key, values, dtype)
        keys = {peft_layer.layer.key for peft_layer in file.layers}
        written = [(layer, adapter) for layer, adapter in adapters.layer_adapters if layer.key in keys]
        header = build_metadata(written, adapters.algorithm, adapters.settings, "peft")
        config = json.dumps(file.config, indent=2, sort_keys=True)
        header |= {} if file.config_beside else {CONFIG_KEY: config}
        complete.append((file.path, tensors, {**header, **metadata}, config if file.config_beside else None))
    for file_path, tensors, header, config_beside in complete:
        write_tensors(file_path, tensors, header)
        if config_beside is not None:
            atomic_write_bytes(file_path.parent / CONFIG_FILE, [config_beside.encode() + b"\n"])


def _peft_files(path: str | PathLike[str], layer_adapters: Sequence[LayerAdapter]) -> Iterator[_PeftFile]:
    files, config_beside = output_files(path, list(dict.fromkeys(layer.part for layer, _ in layer_adapters)))
    for file in dict.fromkeys(files.values()):
        layers = [to_peft(layer, adapter) for layer, adapter in layer_adapters if files[layer.part] == file]
        layers = layers if config_beside else [layer.fold_scale() for layer in layers]
        yield _PeftFile(file, layers, build_config(layers), config_beside)


def _cast(name: str, values: Tensor, dtype: str) -> Tensor:
    values = values.detach()
    if name.endswith(".alpha") or not values.is_floating_point():
        return values
    cast = values.to(PRECISIONS[dtype])
    if not torch.isfinite(cast).all():
        raise InputError(f"Tensor `{name}` has values that are not finite in {dtype}.")
    return cast


def _lycoris_tensors(layer: LayerRef, adapter: Adapter) -> dict[str, Tensor]:
    return {f"{layer.key}.{name}": values for name, values in adapter.state_tensors().items()}


def _diffusers_tensors(layer: LayerRef, adapter: Adapter) -> dict[str, Tensor]:
    """Return a plain LoRA as diffusers names it. Its files have no alpha, so the scale is in the tensors."""
    tensors = adapter.state_tensors()
    if set(tensors) != {"lora_up.weight", "lora_down.weight", "alpha"}:
        raise InputError(f"Only plain LoRA goes into this format, but layer `{layer.name}` has {sorted(tensors)}.")
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    scale = tensors["alpha"].item() / down.shape[0]
    return {f"{layer.name}.lora_A.weight": down, f"{layer.name}.lora_B.weight": up * scale}
