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
from lycoris.adapters.files.checkpoint_reader import read
from lycoris.adapters.files.layer_names import Place, parts_of, places
from lycoris.adapters.files.metadata import algorithm_of, dated, header
from lycoris.adapters.files.peft import config as peft_config
from lycoris.adapters.files.peft.export_config import configuration
from lycoris.adapters.files.peft.layout import sources, targets
from lycoris.adapters.files.peft.reader import PREFIX
from lycoris.adapters.files.peft.writer import Written, written
from lycoris.adapters.files.safetensors_io import put, read_header, write
from lycoris.adapters.files.state_dict import adapters_of
from lycoris.adapters.layers.adapted_layer import MATRICES, NORMS
from lycoris.adapters.network import Network, freeze
from lycoris.errors import InputError, unknown

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
    made = [(network.places[key], adapter) for key, adapter in network.adapters.items()]
    metadata = {**dated(date), **(metadata or {})}
    write_adapters(path, made, network.algorithm, network.settings, format=format, metadata=metadata, dtype=dtype)


def write_adapters(
    path: str | PathLike[str],
    made: Sequence[tuple[Place, Adapter]],
    algorithm: str,
    settings: Mapping[str, Any],
    *,
    format: str,
    metadata: Mapping[str, str],
    dtype: str,
) -> None:
    """Write adapters that need not be on a model; arguments and errors are those of `save`."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if dtype not in PRECISIONS:
        raise unknown("dtype", dtype, PRECISIONS)
    if format == "peft":
        _write_peft(path, made, algorithm, settings, metadata, dtype)
        return
    tensors: dict[str, Tensor] = {}
    for place, adapter in made:
        tensors |= _pair(place, adapter) if format == "diffusers" else _own(place, adapter)
    strings = {**header(made, algorithm, settings, format), **metadata}
    write(path, {name: _narrow(name, values, dtype) for name, values in tensors.items()}, strings)


def _write_peft(
    path: str | PathLike[str],
    made: Sequence[tuple[Place, Adapter]],
    algorithm: str,
    settings: Mapping[str, Any],
    metadata: Mapping[str, str],
    dtype: str,
) -> None:
    whole = []
    for file, layers, config, beside in _as_peft(path, made):
        tensors: dict[str, Tensor] = {}
        for each in layers:
            for name, values in each.tensors.items():
                key = f"{PREFIX}{each.place.path}.{name}"
                if key in tensors:
                    raise InputError(f"Two layers would share the key `{key}`: give a folder instead of `{path}`.")
                tensors[key] = _narrow(key, values, dtype)
        paths = {each.place.key for each in layers}
        strings = header([(p, a) for p, a in made if p.key in paths], algorithm, settings, "peft")
        text = json.dumps(config, indent=2, sort_keys=True)
        strings |= {} if beside else {peft_config.HEADER: text}
        whole.append((file, tensors, {**strings, **metadata}, text if beside else None))
    for file, tensors, strings, configuration_text in whole:
        write(file, tensors, strings)
        if configuration_text is not None:
            put(file.parent / peft_config.FILE, [configuration_text.encode() + b"\n"])


def _as_peft(
    path: str | PathLike[str], made: Sequence[tuple[Place, Adapter]]
) -> Iterator[tuple[Path, list[Written], dict[str, object], bool]]:
    """Files to write, each with its layers, its configuration and whether that goes beside it.

    Where it does not, the scale is in the tensors.
    """
    files, beside = targets(path, list(dict.fromkeys(place.part for place, _ in made)))
    for file in dict.fromkeys(files.values()):
        layers = [written(place, adapter) for place, adapter in made if files[place.part] == file]
        layers = layers if beside else [each.unscaled() for each in layers]
        yield file, layers, configuration(layers), beside


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
    contents = read(path)
    parts = parts_of(model)
    made = adapters_of(contents, places(parts, MATRICES + NORMS))
    freeze(parts)
    return Network(algorithm_of(made), contents.settings, made)


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The strings in a file's header: ours (`lycoris.*`), kohya's (`ss_*`) and whatever the writer added.

    Raises:
        InputError: not a safetensors file, nor a folder of PEFT.
    """
    return read_header(next(iter(sources(path).values())))[0]


def holds(format: str, path: str | PathLike[str], made: Sequence[tuple[Place, Adapter]]) -> bool:
    """Whether a format can hold these adapters as they are, at this path."""
    if format == "peft":
        try:
            return bool(list(_as_peft(path, made)))
        except InputError:
            return False
    return format != "diffusers"


def _narrow(name: str, values: Tensor, dtype: str) -> Tensor:
    values = values.detach()
    if name.endswith(".alpha") or not values.is_floating_point():
        return values
    narrow = values.to(PRECISIONS[dtype])
    if not torch.isfinite(narrow).all():
        raise InputError(f"Tensor `{name}` has values that are not finite in {dtype}.")
    return narrow


def _own(place: Place, adapter: Adapter) -> dict[str, Tensor]:
    return {f"{place.key}.{name}": values for name, values in adapter.tensors().items()}


def _pair(place: Place, adapter: Adapter) -> dict[str, Tensor]:
    """A plain LoRA for diffusers, whose files have no alpha: the scale is in the tensors."""
    tensors = adapter.tensors()
    if set(tensors) != {"lora_up.weight", "lora_down.weight", "alpha"}:
        raise InputError(f"Only plain LoRA goes into this format, but layer `{place.name}` has {sorted(tensors)}.")
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    scale = tensors["alpha"].item() / down.shape[0]
    return {f"{place.name}.lora_A.weight": down, f"{place.name}.lora_B.weight": up * scale}
