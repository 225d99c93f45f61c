"""Adapters from a file's tensors: each finds its layer, algorithm and options, checked before memory is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

import torch
from torch import Tensor

from lycoris.adapters import ALGORITHMS
from lycoris.adapters.algorithms import dora
from lycoris.adapters.algorithms.adapter import Adapter, TargetLayer
from lycoris.adapters.algorithms.ia3 import IA3
from lycoris.adapters.algorithms.scalar_gate import ScalarGate
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.errors import InputError, unknown_name_error


def build_adapters(
    contents: AdapterFile, layers: Sequence[LayerRef], device: torch.device | None = None
) -> list[tuple[LayerRef, Adapter]]:
    """The adapters of a file, each with its place, none attached.

    Args:
        contents: the file.
        found: every place that a model has.
        device: where to; each layer's own by default.

    Raises:
        InputError: layers that the model lacks, shapes that do not fit, missing or unknown keys, values that are not
            finite.
    """
    by_name: dict[str, LayerRef] = {}
    for place in layers:
        bare = place.path.removeprefix("text_model.")  # some versions of transformers have it, some not
        paths = {place.path, bare, f"text_model.{bare}"} if place.kind == "text" else {place.path}
        dotted = [name for path in paths for name in (path, f"{place.part}.{path}")]
        by_name |= {name: place for name in (*(f"base_model.model.{name}" for name in dotted), *dotted)}
    by_name |= {name: place for place in layers for name in place.keys}
    groups: dict[str, tuple[LayerRef, Mapping[str, Tensor]]] = {}
    lacking = sorted(name for name in contents.layers if name not in by_name)
    if lacking:
        listed = ", ".join(f"`{name}`" for name in lacking[:5]) + (" ..." if len(lacking) > 5 else "")
        known = f"{layers[0].key}, {layers[-1].key}" if layers else "none"
        raise InputError(
            f"File `{contents.path}` has {len(lacking)} layers that the model has not: {listed}. "
            f"The model's are named like {known}. A file for several parts needs a dict of them."
        )
    for name, tensors in contents.layers.items():
        place = by_name[name]
        if groups.setdefault(place.key, (place, tensors))[1] is not tensors:
            raise InputError(f"File `{contents.path}` has the layer `{place.name}` twice, under two names.")
    order = {place.key: index for index, place in enumerate(layers)}
    chosen = [groups[key] for key in sorted(groups, key=order.__getitem__)]
    path, memory = contents.path, contents.layer_metadata
    made = [(place, _build_adapter(path, place, tensors, memory(place.key), device)) for place, tensors in chosen]
    biased = {by_name[name].key for name in contents.bias_scaled_layers}
    for place, adapter in made:
        if place.key in biased and isinstance(adapter, IA3) and getattr(place.layer, "bias", None) is not None:
            raise InputError(
                f"File `{path}`, layer `{place.name}`: PEFT's (IA)³ multiplies the bias too, which this library's does "
                "not. Merge it in PEFT and `extract` it."
            )
    return made


def find_algorithm(
    path: str | PathLike[str],
    layer: str,
    shapes: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, object],
    module: object | None = None,
) -> type[Adapter]:
    """The algorithm that has these tensors; of several the one that the header names.

    Raises:
        InputError: none has, or none that adapts such a module.
    """
    kinds = [
        k for k in ALGORITHMS.values() if k.matches(shapes) and (module is None or isinstance(module, k.layer_types))
    ]
    kinds = [kind for kind in kinds if kind.algorithm == metadata.get("algorithm")] or kinds
    if not kinds:
        raise InputError(f"File `{path}`, layer `{layer}`: no algorithm has the keys {sorted(shapes)} on it.")
    return kinds[0]


def _build_adapter(
    path: str | PathLike[str],
    place: LayerRef,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, object],
    device: torch.device | None,
) -> Adapter:
    """The adapter that has these tensors, checked before memory is taken."""
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    kind = find_algorithm(path, place.key, shapes, metadata, place.layer)
    for name, values in tensors.items():
        if not values.numel() or not torch.isfinite(values).all():
            raise InputError(f"File `{path}`, tensor `{place.key}.{name}` must be finite and not empty.")
    constants = {name: values.item() for name, values in tensors.items() if values.numel() == 1}
    known = metadata if kind.algorithm == metadata.get("algorithm") else {}
    remembered = {name: known[name] for name in kind.header_options if name in known}
    site = TargetLayer(place.name, place.layer, uninitialized=True, header_values=remembered)
    plain = {name: shape for name, shape in shapes.items() if name != dora.DORA_SCALE_KEY}
    try:
        options = kind.infer_options(site, plain, constants)
        adapter: Adapter = kind(site, **options, **remembered)
        if known.get("scalar") is True:
            adapter = ScalarGate(site, adapter)
        if dora.DORA_SCALE_KEY in shapes:
            adapter = dora.DoRA(site, adapter, **dora.DoRA.infer_options(site, shapes, constants))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"File `{path}`, layer `{place.key}` of shape {list(site.shape)}: {_describe_error(error)}"
        ) from error
    expected = adapter.state_tensors()
    tensors = {name: _match_trailing_ones(values, expected.get(name)) for name, values in tensors.items()}
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    for name in sorted(set(shapes) - set(expected)):
        raise unknown_name_error(f"key of `{place.key}` in `{path}`", name, expected)
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
    adapter.to_empty(device=place.weight.device if device is None else device)
    adapter.load_tensors(tensors)
    return adapter


def _describe_error(error: Exception) -> str:
    return f"the key {error} is missing." if isinstance(error, KeyError) else str(error)


def _match_trailing_ones(values: Tensor, expected: Tensor | None) -> Tensor:
    """The values in the shape expected, where no more than ones at its end are missing or too many."""
    if expected is None or values.shape == expected.shape:
        return values
    least = min(values.dim(), expected.dim())
    rest = (*values.shape[least:], *expected.shape[least:])
    same = values.shape[:least] == expected.shape[:least] and all(size == 1 for size in rest)
    return values.reshape(expected.shape) if same else values
