"""Adapter files written in the formats of LyCORIS, kohya's tools, ComfyUI, diffusers and PEFT."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters.files.layer_writing import write_layers
from lycoris.adapters.files.metadata import LayerAdapter, build_metadata
from lycoris.adapters.files.peft.config import CONFIG_FILE, CONFIG_KEY
from lycoris.adapters.files.peft.export_config import build_config
from lycoris.adapters.files.peft.layout import output_files
from lycoris.adapters.files.peft.reader import KEY_PREFIX
from lycoris.adapters.files.peft.writer import PeftLayer, to_peft
from lycoris.adapters.files.safetensors_io import atomic_write_bytes, write_tensors
from lycoris.errors import InputError, unknown_name_error

_OTHER_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".gguf", ".onnx"})
"""Ends of names of files that hold weights in other containers."""
FORMATS = ("lycoris", "kohya", "comfyui", "diffusers", "peft")
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
    path: str | PathLike[str], adapters: AdapterSet, *, format: str | None, metadata: Mapping[str, str], dtype: str
) -> None:
    """Write adapters as a file, or as a PEFT folder.

    Args:
        path: of the file or folder.
        adapters: the adapters.
        format: a name of `FORMATS`; None for the one of `default_format`.
        metadata: further strings for the header.
        dtype: of the tensors, a name of `PRECISIONS`; alpha keeps its own.

    Raises:
        InputError: an unknown format or dtype, an algorithm that the format cannot hold, or values that overflow.
    """
    check_suffix(path)
    format = default_format(adapters.layer_adapters) if format is None else format
    if format not in FORMATS:
        raise unknown_name_error("format", format, FORMATS)
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    if format == "peft":
        _write_peft(path, adapters, metadata, dtype)
        return
    written = write_layers(format, adapters.layer_adapters)
    tensors = {
        f"{layer.name}.{name}": cast_tensor(f"{layer.name}.{name}", values, dtype)
        for layer in written
        for name, values in layer.tensors.items()
    }
    names = {layer.key: each.name for each in written for layer in each.layers}
    header = build_metadata(adapters.layer_adapters, adapters.algorithm, adapters.settings, format, names)
    write_tensors(path, tensors, {**header, **metadata})


def check_suffix(path: str | PathLike[str]) -> None:
    """Check that a file's name does not promise another container than safetensors.

    Raises:
        InputError: it ends as pickles and other weights do.
    """
    if Path(path).suffix.lower() in _OTHER_SUFFIXES:
        raise InputError(f"File `{path}` would be a safetensors file: its name must end in `.safetensors`.")


def default_format(layer_adapters: Sequence[LayerAdapter]) -> str:
    """Return the format that ComfyUI and diffusers both open, as far as there is one.

    That of LyCORIS for UNets; for transformers diffusers', or ComfyUI's where it has no names but the original ones, or
    where the algorithm is another than LoRA, which diffusers does not read.
    """
    denoiser = [layer for layer, _ in layer_adapters if layer.kind == "transformer"]
    if not denoiser:
        return "lycoris"
    family = denoiser[0].family
    if family is not None and not (family.comfyui_reads_diffusers and can_hold("diffusers", "", layer_adapters)):
        return "comfyui" if can_hold("comfyui", "", layer_adapters) else "lycoris"
    return "diffusers" if can_hold("diffusers", "", layer_adapters) else "lycoris"


def can_hold(format: str, path: str | PathLike[str], layer_adapters: Sequence[LayerAdapter]) -> bool:
    """Tell whether a format can hold these adapters without converting them, at this path."""
    try:
        if format == "peft":
            return bool(list(_peft_files(path, layer_adapters)))
        return bool(write_layers(format, layer_adapters))
    except InputError:
        return False


def describe_unread(format: str, layer_adapters: Sequence[LayerAdapter]) -> str | None:
    """Describe what `load_lora_weights` of diffusers does with a file; None where it reads it or that is unknown.

    Args:
        format: of the file, a name of `FORMATS`.
        layer_adapters: each layer and its adapter.
    """
    family = next((layer.family for layer, _ in layer_adapters if layer.family is not None), None)
    if family is None or format in ("diffusers", "peft", *family.diffusers_reads):
        return None
    if format in family.diffusers_reads_blocks:
        how = f"reads format `{format}` of {family.name} only where every layer of the blocks is adapted"
    else:
        how = f"does not read format `{format}` of {family.name}: it refuses the file, or the file has no effect"
    return f"`load_lora_weights` of diffusers {how}. Format `diffusers` is read."


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
                tensors[key] = cast_tensor(key, values, dtype)
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


def cast_tensor(name: str, values: Tensor, dtype: str) -> Tensor:
    """Return a tensor in a dtype of `PRECISIONS`; alpha and whole numbers keep their own.

    Raises:
        InputError: a value is not finite in it.
    """
    values = values.detach()
    if name.endswith(".alpha") or not values.is_floating_point():
        return values
    cast = values.to(PRECISIONS[dtype])
    if not torch.isfinite(cast).all():
        raise InputError(f"Tensor `{name}` has values that are not finite in {dtype}.")
    return cast
