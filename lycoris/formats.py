"""Adapter files: LyCORIS / kohya, PEFT and diffusers, told by their keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from lycoris.adapters import ALGORITHMS, dora
from lycoris.adapters.adapter import Adapter, Site
from lycoris.adapters.files import read_header, read_tensors, write
from lycoris.adapters.layer import MATRICES, NORMS
from lycoris.adapters.names import Place, parts_of, places
from lycoris.adapters.scalar import Scalar
from lycoris.errors import InputError, unknown
from lycoris.network import Network, freeze

FORMATS = ("lycoris", "peft", "diffusers")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


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
    made = [(network.places[key], adapter) for key, adapter in network.adapters.items()]
    write_adapters(path, made, network.algorithm, network.settings, format=format, metadata=metadata or {}, dtype=dtype)


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
    tensors = {}
    for place, adapter in made:
        for name, values in _LAYOUTS[format](place, adapter).items():
            values = values.detach()
            if not name.endswith(".alpha") and values.is_floating_point():
                narrow = values.to(PRECISIONS[dtype])
                if not torch.isfinite(narrow).all():
                    raise InputError(f"Tensor `{name}` has values that are not finite in {dtype}.")
                values = narrow
            tensors[name] = values
    write(path, tensors, {**header(made, algorithm, settings, format), **metadata})


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
    contents = read(path)
    parts = parts_of(model)
    made = adapters_of(contents, places(parts, MATRICES + NORMS))
    freeze(parts)
    return Network(algorithm_of(made), contents.settings, made)


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The strings in a file's header: ours (`lycoris.*`), kohya's (`ss_*`) and whatever the writer added.

    Raises:
        InputError: not a safetensors file.
    """
    return read_header(path)[0]


@dataclass(frozen=True)
class Contents:
    """A file as it is, before it is known what its layers are.

    Attributes:
        path: of the file, for messages.
        metadata: the header's strings.
        layers: the layer's name in the file → tensor, under LyCORIS's name for it → values.
        settings: what the network was made with; empty for files of others.
        memory: the layer's LyCORIS name → algorithm and options that the tensors cannot tell.
    """

    path: str | PathLike[str]
    metadata: Mapping[str, str]
    layers: Mapping[str, Mapping[str, Tensor]]
    settings: dict[str, Any]
    memory: Callable[[str], Mapping[str, object]]


def read(path: str | PathLike[str]) -> Contents:
    """Read a file of any format.

    Raises:
        InputError: not such a file, or one without a layer.
    """
    metadata, tensors = read_tensors(path)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, values in tensors.items():
        layer, name = _divided(key)
        if name in layers.setdefault(layer, {}):
            raise InputError(f"File `{path}` has the tensor `{name}` of layer `{layer}` twice, under two names.")
        layers[layer][name] = values
    if not layers:
        raise InputError(f"File `{path}` holds no adapter: it has no layer at all.")
    settings = read_json(path, metadata, "lycoris.settings")
    shared = {**settings, "algorithm": metadata.get("lycoris.algorithm")}
    own = read_json(path, metadata, "lycoris.layers")
    memory = lambda key: own[key] if isinstance(own.get(key), dict) else shared  # noqa: E731
    return Contents(path, metadata, layers, settings, memory)


def read_json(path: str | PathLike[str], metadata: Mapping[str, str], name: str) -> dict:
    """One entry of a header that is a JSON object; an empty one where there is none.

    Raises:
        InputError: it is not.
    """
    try:
        found = json.loads(metadata.get(name, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"File `{path}` has metadata `{name}` that is not a JSON object.")
    return found


def algorithm_of(made: Sequence[tuple[Place, Adapter]]) -> str:
    """The one algorithm of these adapters, norms aside, or ``"mixed"``."""
    found = Counter(adapter.algorithm for _, adapter in made)
    if len(found) > 1:
        del found["norms"]
    return next(iter(found)) if len(found) == 1 else "mixed"


def header(
    made: Sequence[tuple[Place, Adapter]], algorithm: str, settings: Mapping[str, Any], format: str
) -> dict[str, str]:
    """The strings of a file's header: ours, and in the LyCORIS format those that kohya's tools and others look for."""
    given = {name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None}
    found = {f"lycoris.{name}": str(value) for name, value in {"algorithm": algorithm, **given}.items()}
    found["lycoris.settings"] = json.dumps(settings, sort_keys=True)
    if isinstance(settings.get("layers"), dict):
        found["lycoris.layers"] = json.dumps({place.key: a.memory() for place, a in made}, sort_keys=True)
    if format == "lycoris":
        algo = {"lora": "locon", "t-lora": "tlora"}.get(algorithm, algorithm)
        found["ss_network_module"] = "lycoris.kohya"
        found["ss_network_args"] = json.dumps({"algo": algo, **given}, sort_keys=True)
        found |= {
            f"ss_network_{new}": str(given[old]) for old, new in (("rank", "dim"), ("alpha",) * 2) if old in given
        }
        kernels = {place.key: kernel for place, adapter in made if (kernel := _lost_kernel(place, adapter)) is not None}
        if kernels:
            found["lycoris.kernels"] = json.dumps(kernels, sort_keys=True)
    architecture = _architecture([place for place, _ in made])
    if architecture is not None:
        found |= {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{architecture}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.title": algorithm,
        }
    return {"format": "pt", **found}


def _lost_kernel(place: Place, adapter: Adapter) -> list[int] | None:
    """The kernel of a layer of which the tensors show no more than inputs times kernel; empty for a Linear."""
    shapes = {name: tuple(values.shape) for name, values in adapter.tensors().items()}
    kind = ALGORITHMS[adapter.algorithm]
    flat = not kind.reads_weight and kind.shape_of(shapes, {})[2:] == (None,)
    return list(getattr(place.layer, "kernel_size", ())) if flat else None


def _architecture(chosen: Sequence[Place]) -> str | None:
    """The base's name in the ModelSpec standard, where the chosen layers tell."""
    if any(place.kind == "transformer" for place in chosen):
        return "flux-1-dev" if any(p.path.startswith("single_") for p in chosen) else "stable-diffusion-3"
    widths = {p.layer.in_features for p in chosen if p.kind == "unet" and p.path.endswith("attn2.to_k")}
    known = {768: "stable-diffusion-v1", 1024: "stable-diffusion-v2", 2048: "stable-diffusion-xl-v1-base"}
    return known.get(widths.pop()) if len(widths) == 1 else None


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


def adapters_of(
    contents: Contents, found: Sequence[Place], device: torch.device | None = None
) -> list[tuple[Place, Adapter]]:
    """The adapters of a file, each with its place, none attached.

    Args:
        contents: the file.
        found: every place that a model has.
        device: where to; each layer's own by default.

    Raises:
        InputError: layers that the model lacks, shapes that do not fit, missing or unknown keys, values that are not
            finite.
    """
    by_name: dict[str, Place] = {}
    for place in found:
        bare = place.path.removeprefix("text_model.")  # some versions of transformers have it, some not
        paths = {place.path, bare, f"text_model.{bare}"} if place.kind == "text" else {place.path}
        dotted = [name for path in paths for name in (path, f"{place.part}.{path}")]
        by_name |= {name: place for name in (*(f"base_model.model.{name}" for name in dotted), *dotted)}
    by_name |= {name: place for place in found for name in place.names}
    groups: dict[str, tuple[Place, Mapping[str, Tensor]]] = {}
    lacking = sorted(name for name in contents.layers if name not in by_name)
    if lacking:
        listed = ", ".join(f"`{name}`" for name in lacking[:5]) + (" ..." if len(lacking) > 5 else "")
        known = f"{found[0].key}, {found[-1].key}" if found else "none"
        raise InputError(
            f"File `{contents.path}` has {len(lacking)} layers that the model has not: {listed}. "
            f"The model's are named like {known}. A file for several parts needs a dict of them."
        )
    for name, tensors in contents.layers.items():
        place = by_name[name]
        if groups.setdefault(place.key, (place, tensors))[1] is not tensors:
            raise InputError(f"File `{contents.path}` has the layer `{place.name}` twice, under two names.")
    order = {place.key: index for index, place in enumerate(found)}
    chosen = [groups[key] for key in sorted(groups, key=order.__getitem__)]
    path, memory = contents.path, contents.memory
    return [(place, _adapter(path, place, tensors, memory(place.key), device)) for place, tensors in chosen]


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


def kind_of(
    path: str | PathLike[str],
    layer: str,
    shapes: Mapping[str, tuple[int, ...]],
    memory: Mapping[str, object],
    module: object | None = None,
) -> type[Adapter]:
    """The algorithm that has these tensors; of several the one that the header names.

    Raises:
        InputError: none has, or none that adapts such a module.
    """
    kinds = [k for k in ALGORITHMS.values() if k.holds(shapes) and (module is None or isinstance(module, k.layers))]
    kinds = [kind for kind in kinds if kind.algorithm == memory.get("algorithm")] or kinds
    if not kinds:
        raise InputError(f"File `{path}`, layer `{layer}`: no algorithm has the keys {sorted(shapes)} on it.")
    return kinds[0]


def _adapter(
    path: str | PathLike[str],
    place: Place,
    tensors: Mapping[str, Tensor],
    memory: Mapping[str, object],
    device: torch.device | None,
) -> Adapter:
    """The adapter that has these tensors, checked before memory is taken."""
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    kind = kind_of(path, place.key, shapes, memory, place.layer)
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
        if values.device.type == "meta" and name in tensors and not tensors[name].is_floating_point():
            raise InputError(
                f"File `{path}`, tensor `{place.key}.{name}` must be floating, but is {tensors[name].dtype}."
            )
    for name, values in expected.items():
        if values.device.type == "meta" and shapes.get(name) != tuple(values.shape):
            got = "nothing" if name not in shapes else list(shapes[name])
            raise InputError(
                f"File `{path}`, tensor `{place.key}.{name}` must have shape {list(values.shape)}, but got {got}."
            )
    adapter.to_empty(device=place.layer.weight.device if device is None else device)
    adapter.fill(tensors)
    return adapter


def _reason(error: Exception) -> str:
    return f"the key {error} is missing." if isinstance(error, KeyError) else str(error)
