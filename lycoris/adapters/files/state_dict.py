"""Adapters built from a file's tensors, each checked against its layer before memory is allocated."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor

from lycoris.adapters.algorithms import ALGORITHMS, Adapter, Algorithm
from lycoris.adapters.algorithms.bias import BIAS_KEY, BiasDelta
from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY, DoRA, infer_dora_axis
from lycoris.adapters.algorithms.ia3 import IA3
from lycoris.adapters.algorithms.scalar_gate import ScalarGate
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.families import OriginalRows
from lycoris.adapters.files.fused_rows import take_rows
from lycoris.adapters.files.layer_lookup import Targets
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import LayerAdapter
from lycoris.adapters.files.tensor_forms import normalize_tensors
from lycoris.adapters.layers.injection import with_weight
from lycoris.errors import InputError, list_names, unknown_name_error

_MAX_NAMES_SHOWN = 5


class BuiltAdapters(NamedTuple):
    """The adapters of a file on the layers of a model.

    Attributes:
        layer_adapters: each layer and its adapter, in the model's order; none is attached.
        left_out: keys of the file that no adapter has.
    """

    layer_adapters: list[LayerAdapter]
    left_out: tuple[str, ...]


def build_adapters(
    file: AdapterFile, targets: Targets, layers: Sequence[LayerRef], device: torch.device | None = None
) -> BuiltAdapters:
    """Build the adapters of a file, each with its layer, none attached.

    Args:
        file: the file's content.
        targets: name of a layer in the file → the layers that it stands for; the file's other layers are left out.
        layers: every layer of the model.
        device: of the parameters; by default that on which each layer computes, or the CPU for one without values.

    Raises:
        InputError: a shape does not fit, a key is missing or unknown, a value is not finite, or the keys that are used
            and those that are left out are not all keys of the file.
    """
    groups: dict[str, tuple[LayerRef, dict[str, Tensor]]] = {}
    bias_scaled = set()
    for name, found in targets.items():
        for layer, rows in found:
            tensors = _tensors_of(file, name, rows)
            group = groups.setdefault(layer.key, (layer, {}))[1]
            if set(group) & set(tensors):
                raise InputError(f"File `{file.path}` has the layer `{layer.name}` twice, under two names.")
            group |= tensors
            bias_scaled |= {layer.key} if name in file.bias_scaled_layers else set()
    built = []
    for layer in (layer for layer in layers if layer.key in groups):
        build = functools.partial(build_adapter, file, layer, groups[layer.key][1], device)
        built.append((layer, with_weight(layer.module, layer.name, build)))
    for layer, adapter in built:
        has_bias = getattr(layer.module, "bias", None) is not None
        if layer.key in bias_scaled and isinstance(adapter, IA3) and has_bias:
            raise InputError(
                f"File `{file.path}`, layer `{layer.name}`: PEFT's (IA)³ multiplies the bias too, which this library's "
                "does not. Merge it in PEFT and `extract` it."
            )
    return BuiltAdapters(built, _check_every_key(file, targets))


def _check_every_key(file: AdapterFile, targets: Targets) -> tuple[str, ...]:
    """Return the keys that are left out, checked to be, with those that adapters have, every key of the file."""
    used = {key for name in targets for key in file.sources[name]}
    other = {key for name in file.layers if name not in targets for key in file.sources[name]}
    left_out = (*sorted(other), *file.unread, *file.embeddings)
    lost = file.keys - used - set(left_out)
    if lost or len(used) + len(left_out) != len(file.keys):
        raise InputError(f"File `{file.path}`: the keys {list_names(sorted(lost), _MAX_NAMES_SHOWN)} were not read.")
    return left_out


def _tensors_of(file: AdapterFile, name: str, rows: OriginalRows | None) -> Mapping[str, Tensor]:
    """Return the tensors of a layer in the file, or the rows of them that one layer of a fused one has."""
    if rows is None:
        return file.layers[name]
    try:
        return take_rows(file.layers[name], rows)
    except InputError as error:
        raise InputError(f"File `{file.path}`, layer `{name}`: {error}") from None


def find_algorithm(
    path: str | PathLike[str],
    layer: str,
    shapes: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, object],
    module: object | None = None,
) -> type[Algorithm]:
    """Find the algorithm that has these tensors; of several, the one that the header names.

    Args:
        path: of the file, for messages.
        layer: its name in the file.
        shapes: name → shape of the layer's tensors.
        metadata: of the layer, with its ``"algorithm"`` where the header has it.
        module: the layer, where there is a model.

    Raises:
        InputError: none has these tensors, or none of them adapts such a module.
    """
    candidates = [
        algorithm
        for algorithm in ALGORITHMS.values()
        if algorithm.matches(shapes) and (module is None or isinstance(module, algorithm.layer_types))
    ]
    named = [algorithm for algorithm in candidates if algorithm.algorithm == metadata.get("algorithm")]
    if not candidates:
        raise InputError(f"File `{path}`, layer `{layer}`: no algorithm has the keys {sorted(shapes)} on it.")
    return (named or candidates)[0]


def build_adapter(
    file: AdapterFile, layer: LayerRef, tensors: Mapping[str, Tensor], device: torch.device | None
) -> Adapter:
    """Build the adapter that has these tensors, checked before memory is allocated.

    Args:
        file: for its header, and its path in messages.
        layer: the layer.
        tensors: LyCORIS's name → values.
        device: of the parameters; the layer's own by default.

    Raises:
        InputError: they fit no algorithm or not the layer, or a value is not finite.
    """
    path, metadata = file.path, file.layer_metadata(layer.key)
    for name, values in tensors.items():
        if not values.numel() or not torch.isfinite(values).all():
            raise InputError(f"File `{path}`, tensor `{layer.key}.{name}` must be finite and not empty.")
    target = TargetLayer(layer.name, layer.module, uninitialized=True)
    try:
        tensors = normalize_tensors(tensors, layer.module, target.shape)
        shapes = {name: tuple(values.shape) for name, values in tensors.items()}
        algorithm = find_algorithm(path, layer.key, shapes, metadata, layer.module)
        constants = {name: values.item() for name, values in tensors.items() if values.numel() == 1}
        metadata = metadata if algorithm.algorithm == metadata.get("algorithm") else {}
        header_values = {name: metadata[name] for name in algorithm.header_options if name in metadata}
        target = replace(target, header_values=header_values)
        own_shapes = {name: shape for name, shape in shapes.items() if name != DORA_SCALE_KEY}
        options = algorithm.infer_options(target, own_shapes, constants)
        inner = algorithm(target, **options, **header_values)
        adapter: Adapter = ScalarGate(target, inner) if metadata.get("scalar") is True else inner
        if DORA_SCALE_KEY in shapes:
            adapter = DoRA(target, adapter, infer_dora_axis(target, shapes))
        if BIAS_KEY in shapes and not {BIAS_KEY, "diff"} <= set(adapter.state_tensors()):
            adapter = BiasDelta(target, adapter)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        reason = f"the key {error} is missing." if isinstance(error, KeyError) else str(error)
        raise InputError(f"File `{path}`, layer `{layer.key}` of shape {list(target.shape)}: {reason}") from error
    expected = adapter.state_tensors()
    tensors = {name: _match_trailing_ones(values, expected.get(name)) for name, values in tensors.items()}
    _check_tensors(path, layer, tensors, expected)
    own_device = torch.device("cpu") if layer.weight.is_meta else layer.weight.device
    adapter.to_empty(device=own_device if device is None else device)
    adapter.load_tensors(tensors)
    return adapter


def _check_tensors(
    path: str | PathLike[str], layer: LayerRef, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    for name in sorted(set(tensors) - set(expected)):
        raise unknown_name_error(f"key of `{layer.key}` in `{path}`", name, expected)
    parameters = {name: values for name, values in expected.items() if values.device.type == "meta"}
    for name in parameters:
        if name in tensors and not tensors[name].is_floating_point():
            raise InputError(
                f"File `{path}`, tensor `{layer.key}.{name}` must be floating, but is {tensors[name].dtype}."
            )
    for name, values in parameters.items():
        shape = list(tensors[name].shape) if name in tensors else "nothing"
        if shape != list(values.shape):
            raise InputError(
                f"File `{path}`, tensor `{layer.key}.{name}` must have shape {list(values.shape)}, but got {shape}."
            )


def _match_trailing_ones(values: Tensor, expected: Tensor | None) -> Tensor:
    """Reshape to the expected shape, where the two differ only in trailing ones."""
    if expected is None or values.shape == expected.shape:
        return values
    dims = min(values.dim(), expected.dim())
    rest = (*values.shape[dims:], *expected.shape[dims:])
    same = values.shape[:dims] == expected.shape[:dims] and all(size == 1 for size in rest)
    return values.reshape(expected.shape) if same else values
