"""Adapter files: LyCORIS / kohya, PEFT and diffusers, told by their keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from os import PathLike

import torch
from torch import Tensor, nn

from lycoris.adapters import ALGORITHMS, dora
from lycoris.adapters.adapter import Adapter, Site
from lycoris.adapters.files import read_header, read_tensors, write
from lycoris.adapters.layer import MATRICES, NORMS
from lycoris.adapters.names import Place, parts_of, places
from lycoris.adapters.scalar import Scalar
from lycoris.errors import InputError, unknown
from lycoris.network import Network, freeze

FORMATS = ("lycoris", "peft", "diffusers")
_PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


def save(
    network: Network,
    path: str | PathLike[str],
    *,
    format: str = "lycoris",
    metadata: Mapping[str, str] | None = None,
    dtype: str = "float32",
) -> None:
    """Write a network as one safetensors file.

    Args:
        network: attached or detached; its scale is not part of the file.
        path: of the file; it appears once it is complete.
        format: ``"lycoris"`` for every algorithm; ``"peft"`` and ``"diffusers"`` for LoRA.
        metadata: further strings for the header, such as the lineage.
        dtype: of the tensors, ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"float64"``; alpha stays wide.

    Raises:
        InputError: an unknown format or dtype; an algorithm that the format cannot hold; values that overflow.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if dtype not in _PRECISIONS:
        raise unknown("dtype", dtype, _PRECISIONS)
    tensors = {}
    for key, adapter in network.adapters.items():
        for name, values in _LAYOUTS[format](network.places[key], adapter).items():
            values = values.detach()
            if not name.endswith(".alpha") and values.is_floating_point():
                narrow = values.to(_PRECISIONS[dtype])
                if not torch.isfinite(narrow).all():
                    raise InputError(f"Tensor `{name}` has values that are not finite in {dtype}.")
                values = narrow
            tensors[name] = values
    write(path, tensors, {**_header(network, format), **dict(metadata or {})})


def load(path: str | PathLike[str], model: object) -> Network:
    """Attach the network of a file to a model; format and algorithm are told by the keys.

    Args:
        path: a safetensors file.
        model: as for `lycoris.attach`, with the parts that the file has layers of.

    Returns:
        The network, attached and at scale 1.

    Raises:
        InputError: not such a file, layers that the model lacks, shapes that do not fit, missing or unknown keys,
            values that are not finite.
    """
    metadata, tensors = read_tensors(path)
    parts = parts_of(model)
    groups = _grouped(path, tensors, places(parts, MATRICES + NORMS))
    settings = _json(path, metadata, "lycoris.settings")
    memory = _memory(path, metadata)
    made = [(place, _adapter(path, place, group, memory(place.key))) for place, group in groups]
    freeze(parts)
    found = Counter(adapter.algorithm for _, adapter in made)
    if len(found) > 1:
        del found["norms"]
    algorithm = next(iter(found)) if len(found) == 1 else "mixed"
    return Network(algorithm, settings, made)


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The strings in a file's header: ours (`lycoris.*`), kohya's (`ss_*`) and whatever the writer added.

    Raises:
        InputError: not a safetensors file.
    """
    return read_header(path)[0]


def _json(path: str | PathLike[str], metadata: Mapping[str, str], name: str) -> dict:
    try:
        found = json.loads(metadata.get(name, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"File `{path}` has metadata `{name}` that is not a JSON object.")
    return found


def _memory(path: str | PathLike[str], metadata: Mapping[str, str]) -> Callable[[str], Mapping[str, object]]:
    """For each layer what the header adds to its tensors: its algorithm and options that they cannot tell."""
    shared = {**_json(path, metadata, "lycoris.settings"), "algorithm": metadata.get("lycoris.algorithm")}
    layers = _json(path, metadata, "lycoris.layers")
    return lambda key: layers[key] if isinstance(layers.get(key), dict) else shared


def _header(network: Network, format: str) -> dict[str, str]:
    settings = network.settings
    given = {name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None}
    lineage = {"algorithm": network.algorithm, **given}
    algo = {"lora": "locon", "diag-oft": "diag-oft", "t-lora": "tlora"}.get(network.algorithm, network.algorithm)
    header = {f"lycoris.{name}": str(value) for name, value in lineage.items()}
    header["lycoris.settings"] = json.dumps(settings, sort_keys=True)
    if isinstance(settings.get("layers"), dict):
        layers = {key: adapter.memory() for key, adapter in network.adapters.items()}
        header["lycoris.layers"] = json.dumps(layers, sort_keys=True)
    if format == "lycoris":
        header["ss_network_module"] = "lycoris.kohya"
        header["ss_network_args"] = json.dumps({"algo": algo, **given}, sort_keys=True)
        header |= {
            f"ss_network_{new}": str(given[old]) for old, new in (("rank", "dim"), ("alpha",) * 2) if old in given
        }
    return {"format": "pt", **header}


def _lycoris_layout(place: Place, adapter: Adapter) -> dict[str, Tensor]:
    return {f"{place.key}.{name}": values for name, values in adapter.tensors().items()}


def _pair_layout(place: Place, adapter: Adapter, prefix: str) -> dict[str, Tensor]:
    tensors = adapter.tensors()
    if set(tensors) != {"lora_up.weight", "lora_down.weight", "alpha"}:
        raise InputError(f"Only plain LoRA goes into this format, but layer `{place.name}` has {sorted(tensors)}.")
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    scale = tensors["alpha"].item() / down.shape[0]
    return {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up * scale}


_LAYOUTS = {
    "lycoris": _lycoris_layout,
    "peft": lambda place, adapter: _pair_layout(place, adapter, f"base_model.model.{place.path}"),
    "diffusers": lambda place, adapter: _pair_layout(place, adapter, place.name),
}
"""Format → the file's tensors of one layer. PEFT and diffusers files have no alpha: the scale goes into `lora_B`."""


def _grouped(
    path: str | PathLike[str], tensors: Mapping[str, Tensor], found: list[Place]
) -> list[tuple[Place, dict[str, Tensor]]]:
    """The tensors of each layer, under LyCORIS's names for them."""
    by_name: dict[str, Place] = {}
    for place in found:
        names = (place.key, f"base_model.model.{place.path}", f"base_model.model.{place.name}", place.name)
        by_name |= {name: place for name in names}
    groups: dict[str, tuple[Place, dict[str, Tensor]]] = {}
    missing: list[str] = []
    for key, values in tensors.items():
        layer, name = _divided(key)
        place = by_name.get(layer)
        if place is None:
            missing.append(layer)
            continue
        groups.setdefault(place.key, (place, {}))[1][name] = values
    if missing or not groups:
        lacking = sorted(set(missing))
        listed = ", ".join(f"`{name}`" for name in lacking[:5]) + (" ..." if len(lacking) > 5 else "")
        known = f"{found[0].key}, {found[-1].key}" if found else "none"
        raise InputError(
            f"File `{path}` has {len(lacking)} layers that the model has not: {listed or 'it has no layer at all'}. "
            f"The model's are named like {known}. A file for several parts needs a dict of them."
        )
    order = {place.key: index for index, place in enumerate(found)}
    return [groups[key] for key in sorted(groups, key=order.__getitem__)]


_RENAMED = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora.down.weight": "lora_down.weight",
    "lora.up.weight": "lora_up.weight",
    "lora_A.default.weight": "lora_down.weight",
    "lora_B.default.weight": "lora_up.weight",
}


def _divided(key: str) -> tuple[str, str]:
    """A key as layer and tensor: kohya's names end at the first dot, dotted ones where a known tensor begins."""
    for ending, name in _RENAMED.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], name
    layer, _, name = key.partition(".")
    return layer, name


def _adapter(
    path: str | PathLike[str], place: Place, tensors: dict[str, Tensor], memory: Mapping[str, object]
) -> Adapter:
    """The adapter that has these tensors, checked before memory is taken."""
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    kinds = [k for k in ALGORITHMS.values() if k.holds(shapes) and isinstance(place.layer, k.layers)]
    kinds = [kind for kind in kinds if kind.algorithm == memory.get("algorithm")] or kinds
    if not kinds:
        raise InputError(f"File `{path}`, layer `{place.key}`: no algorithm has the keys {sorted(tensors)} on it.")
    kind = kinds[0]
    for name, values in tensors.items():
        if not values.numel() or not torch.isfinite(values).all():
            raise InputError(f"File `{path}`, tensor `{place.key}.{name}` must be finite and not empty.")
    constants = {name: values.item() for name, values in tensors.items() if values.numel() == 1}
    known = memory if kind.algorithm == memory.get("algorithm") else {}
    remembered = {name: known[name] for name in kind.remembered if name in known}
    site = Site(place.name, place.layer, unfilled=True, remembered=remembered)
    plain = {name: shape for name, shape in shapes.items() if name != dora.KEY}
    try:
        options = kind.options_of(site, plain, constants)
        adapter: Adapter = kind(site, **options, **remembered)
        if known.get("scalar") is True:
            adapter = Scalar(site, adapter)
        if dora.KEY in shapes:
            adapter = dora.DoRA(site, adapter, **dora.DoRA.options_of(site, shapes, constants))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"File `{path}`, layer `{place.key}` of shape {list(site.shape)}: {_reason(error)}") from error
    expected = adapter.tensors()
    for name in sorted(set(shapes) - set(expected)):
        raise unknown(f"key of `{place.key}` in `{path}`", name, expected)
    for name, values in expected.items():
        if values.device.type == "meta" and shapes.get(name) != tuple(values.shape):
            got = "nothing" if name not in shapes else list(shapes[name])
            raise InputError(
                f"File `{path}`, tensor `{place.key}.{name}` must have shape {list(values.shape)}, but got {got}."
            )
    adapter.to_empty(device=place.layer.weight.device)
    adapter.fill(tensors)
    return adapter


def _reason(error: Exception) -> str:
    return f"the key {error} is missing." if isinstance(error, KeyError) else str(error)


def convert(
    source: str | PathLike[str], target: str | PathLike[str], *, format: str, model: nn.Module | Mapping | object
) -> None:
    """Write a file anew in another format; see `save`.

    Args:
        source: a safetensors file of any format.
        target: the file to write.
        format: a name of `FORMATS`.
        model: the model that the layers' names and shapes are of; on the meta device it takes no memory.
    """
    network = load(source, model)
    try:
        save(network, target, format=format, metadata=None)
    finally:
        network.detach()
