"""Adapter files out and in: LyCORIS / kohya, PEFT and diffusers, told by their keys."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.files.checkpoint_reader import read_adapter_file
from lycoris.adapters.files.layer_names import LayerRef, find_layers, named_parts
from lycoris.adapters.files.metadata import build_metadata, common_algorithm, date_metadata
from lycoris.adapters.files.peft import config as peft_config
from lycoris.adapters.files.peft.export_config import build_config
from lycoris.adapters.files.peft.layout import output_files, tensor_files
from lycoris.adapters.files.peft.reader import KEY_PREFIX
from lycoris.adapters.files.peft.writer import PeftLayer, to_peft
from lycoris.adapters.files.safetensors_io import atomic_write_bytes, read_header, write_tensors
from lycoris.adapters.files.state_dict import build_adapters
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.network import Network, freeze
from lycoris.errors import InputError, unknown_name_error

FORMATS = ("lycoris", "peft", "diffusers")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


def save(
    network: Network,
    path: str | PathLike[str],
    *,
    format: str = "lycoris",
    metadata: Mapping[str, str] | None = None,
    dtype: str = "float32",
    date: datetime.date | None = None,
) -> None:
    """Write a network as a safetensors file, in PEFT's format as a folder of one and its configuration too.

    Args:
        network: attached or detached; its scale is not part of the file.
        path: of the file; it appears once it is complete. In PEFT's format a path that does not end in `.safetensors`
            is a folder, as of `save_pretrained`, with one folder a part where there are several.
        format: ``"lycoris"`` for every algorithm; ``"peft"`` for LoRA, DoRA, LoHa, LoKr and (IA)³ where PEFT's are the
            same; ``"diffusers"`` for LoRA.
        metadata: further strings for the header, such as the lineage.
        dtype: of the tensors, ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"float64"``; alpha stays wide.
        date: a date or a time for `modelspec.date`; by default there is none, so that one network gives one file.

    Raises:
        InputError: an unknown format or dtype; an algorithm that the format cannot hold; values that overflow.
    """
    made = [(network.layers[key], adapter) for key, adapter in network.adapters.items()]
    metadata = {**date_metadata(date), **(metadata or {})}
    write_adapters(path, made, network.algorithm, network.settings, format=format, metadata=metadata, dtype=dtype)


def write_adapters(
    path: str | PathLike[str],
    layer_adapters: Sequence[tuple[LayerRef, Adapter]],
    algorithm: str,
    settings: Mapping[str, Any],
    *,
    format: str,
    metadata: Mapping[str, str],
    dtype: str,
) -> None:
    """Write adapters that need not be on a model; arguments and errors are those of `save`."""
    if format not in FORMATS:
        raise unknown_name_error("format", format, FORMATS)
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    if format == "peft":
        _write_peft(path, layer_adapters, algorithm, settings, metadata, dtype)
        return
    tensors: dict[str, Tensor] = {}
    for place, adapter in layer_adapters:
        tensors |= _diffusers_tensors(place, adapter) if format == "diffusers" else _lycoris_tensors(place, adapter)
    strings = {**build_metadata(layer_adapters, algorithm, settings, format), **metadata}
    write_tensors(path, {name: _cast(name, values, dtype) for name, values in tensors.items()}, strings)


def _write_peft(
    path: str | PathLike[str],
    layer_adapters: Sequence[tuple[LayerRef, Adapter]],
    algorithm: str,
    settings: Mapping[str, Any],
    metadata: Mapping[str, str],
    dtype: str,
) -> None:
    whole = []
    for file, layers, config, beside in _peft_files(path, layer_adapters):
        tensors: dict[str, Tensor] = {}
        for each in layers:
            for name, values in each.tensors.items():
                key = f"{KEY_PREFIX}{each.layer.path}.{name}"
                if key in tensors:
                    raise InputError(f"Two layers would share the key `{key}`: give a folder instead of `{path}`.")
                tensors[key] = _cast(key, values, dtype)
        paths = {each.layer.key for each in layers}
        strings = build_metadata([(p, a) for p, a in layer_adapters if p.key in paths], algorithm, settings, "peft")
        text = json.dumps(config, indent=2, sort_keys=True)
        strings |= {} if beside else {peft_config.CONFIG_KEY: text}
        whole.append((file, tensors, {**strings, **metadata}, text if beside else None))
    for file, tensors, strings, configuration_text in whole:
        write_tensors(file, tensors, strings)
        if configuration_text is not None:
            atomic_write_bytes(file.parent / peft_config.CONFIG_FILE, [configuration_text.encode() + b"\n"])


def _peft_files(
    path: str | PathLike[str], layer_adapters: Sequence[tuple[LayerRef, Adapter]]
) -> Iterator[tuple[Path, list[PeftLayer], dict[str, object], bool]]:
    """Files to write, each with its layers, its configuration and whether that goes beside it.

    Where it does not, the scale is in the tensors.
    """
    files, beside = output_files(path, list(dict.fromkeys(place.part for place, _ in layer_adapters)))
    for file in dict.fromkeys(files.values()):
        layers = [to_peft(place, adapter) for place, adapter in layer_adapters if files[place.part] == file]
        layers = layers if beside else [each.fold_scale() for each in layers]
        yield file, layers, build_config(layers), beside


def load(path: str | PathLike[str], model: object) -> Network:
    """Attach the network of a file to a model; format and algorithm are told by the keys.

    Args:
        path: a safetensors file, or a folder of PEFT: of a part, or with one folder a part. PEFT's configuration is
            read where it lies beside the tensors.
        model: as for `lycoris.attach`, with the parts that the file has layers of.

    Returns:
        The network, attached and at scale 1.

    Warns:
        UserWarning: a PEFT file without its configuration, so that alpha is taken to be the rank.

    Raises:
        InputError: not such a file, layers that the model lacks, shapes that do not fit, missing or unknown keys,
            values that are not finite; of PEFT, an adapter that is another map than ours.
    """
    contents = read_adapter_file(path)
    parts = named_parts(model)
    made = build_adapters(contents, find_layers(parts, MATRIX_LAYERS + NORM_LAYERS))
    freeze(parts)
    return Network(common_algorithm(made), contents.settings, made)


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The strings in a file's header: ours (`lycoris.*`), kohya's (`ss_*`) and whatever the writer added.

    Raises:
        InputError: not a safetensors file, nor a folder of PEFT.
    """
    return read_header(next(iter(tensor_files(path).values())))[0]


def can_hold(format: str, path: str | PathLike[str], layer_adapters: Sequence[tuple[LayerRef, Adapter]]) -> bool:
    """Whether a format can hold these adapters as they are, at this path."""
    if format == "peft":
        try:
            return bool(list(_peft_files(path, layer_adapters)))
        except InputError:
            return False
    return format != "diffusers"


def _cast(name: str, values: Tensor, dtype: str) -> Tensor:
    values = values.detach()
    if name.endswith(".alpha") or not values.is_floating_point():
        return values
    narrow = values.to(PRECISIONS[dtype])
    if not torch.isfinite(narrow).all():
        raise InputError(f"Tensor `{name}` has values that are not finite in {dtype}.")
    return narrow


def _lycoris_tensors(place: LayerRef, adapter: Adapter) -> dict[str, Tensor]:
    return {f"{place.key}.{name}": values for name, values in adapter.state_tensors().items()}


def _diffusers_tensors(place: LayerRef, adapter: Adapter) -> dict[str, Tensor]:
    """A plain LoRA for diffusers, whose files have no alpha: the scale is in the tensors."""
    tensors = adapter.state_tensors()
    if set(tensors) != {"lora_up.weight", "lora_down.weight", "alpha"}:
        raise InputError(f"Only plain LoRA goes into this format, but layer `{place.name}` has {sorted(tensors)}.")
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    scale = tensors["alpha"].item() / down.shape[0]
    return {f"{place.name}.lora_A.weight": down, f"{place.name}.lora_B.weight": up * scale}
