"""Adapters built from a file's tensors, each checked against its layer before memory is allocated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

import torch
from torch import Tensor

from lycoris.adapters.algorithms import ALGORITHMS, Adapter, Algorithm
from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY, DoRA, infer_dora_axis
from lycoris.adapters.algorithms.ia3 import IA3
from lycoris.adapters.algorithms.scalar_gate import ScalarGate
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import LayerAdapter
from lycoris.errors import InputError, unknown_name_error

_MAX_NAMES_SHOWN = 5


def build_adapters(
    file: AdapterFile, layers: Sequence[LayerRef], device: torch.device | None = None
) -> list[LayerAdapter]:
    """Build the adapters of a file, each with its layer, none attached.

    Args:
        file: the file's content.
        layers: every layer of the model.
        device: of the parameters; each layer's own by default.

    Raises:
        InputError: the model lacks a layer, a shape does not fit, a key is missing or unknown, or a value is not
            finite.
    """
    by_name = _layers_by_name(layers)
    _check_known_layers(file, layers, by_name)
    groups: dict[str, tuple[LayerRef, Mapping[str, Tensor]]] = {}
    for name, tensors in file.layers.items():
        layer = by_name[name]
        if groups.setdefault(layer.key, (layer, tensors))[1] is not tensors:
            raise InputError(f"File `{file.path}` has the layer `{layer.name}` twice, under two names.")
    order = {layer.key: index for index, layer in enumerate(layers)}
    ordered = [groups[key] for key in sorted(groups, key=order.__getitem__)]
    built = [
        (layer, _build_adapter(file.path, layer, tensors, file.layer_metadata(layer.key), device))
        for layer, tensors in ordered
    ]
    bias_scaled = {by_name[name].key for name in file.bias_scaled_layers}
    for layer, adapter in built:
        has_bias = getattr(layer.module, "bias", None) is not None
        if layer.key in bias_scaled and isinstance(adapter, IA3) and has_bias:
            raise InputError(
                f"File `{file.path}`, layer `{layer.name}`: PEFT's (IA)³ multiplies the bias too, which this library's "
                "does not. Merge it in PEFT and `extract` it."
            )
    return built


def _layers_by_name(layers: Sequence[LayerRef]) -> dict[str, LayerRef]:
    """Map every name that a file may have for a layer to the layer."""
    by_name: dict[str, LayerRef] = {}
    for layer in layers:
        bare = layer.path.removeprefix("text_model.")  # some versions of transformers have it, some do not
        paths = {layer.path, bare, f"text_model.{bare}"} if layer.kind == "text" else {layer.path}
        dotted = [name for path in paths for name in (path, f"{layer.part}.{path}")]
        by_name |= {name: layer for name in (*(f"base_model.model.{name}" for name in dotted), *dotted)}
    return by_name | {name: layer for layer in layers for name in layer.keys}


def _check_known_layers(file: AdapterFile, layers: Sequence[LayerRef], by_name: Mapping[str, LayerRef]) -> None:
    unknown = sorted(name for name in file.layers if name not in by_name)
    if not unknown:
        return
    shown = ", ".join(f"`{name}`" for name in unknown[:_MAX_NAMES_SHOWN])
    shown += " ..." if len(unknown) > _MAX_NAMES_SHOWN else ""
    known = f"{layers[0].key}, {layers[-1].key}" if layers else "none"
    raise InputError(
        f"File `{file.path}` has {len(unknown)} layers that the model does not have: {shown}. "
        f"The model's are named like {known}. A file for several parts needs a dict of them."
    )


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


def _build_adapter(
    path: str | PathLike[str],
    layer: LayerRef,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, object],
    device: torch.device | None,
) -> Adapter:
    """Build the adapter that has these tensors, checked before memory is allocated."""
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    algorithm = find_algorithm(path, layer.key, shapes, metadata, layer.module)
    for name, values in tensors.items():
        if not values.numel() or not torch.isfinite(values).all():
            raise InputError(f"File `{path}`, tensor `{layer.key}.{name}` must be finite and not empty.")
    constants = {name: values.item() for name, values in tensors.items() if values.numel() == 1}
    metadata = metadata if algorithm.algorithm == metadata.get("algorithm") else {}
    header_values = {name: metadata[name] for name in algorithm.header_options if name in metadata}
    target = TargetLayer(layer.name, layer.module, uninitialized=True, header_values=header_values)
    own_shapes = {name: shape for name, shape in shapes.items() if name != DORA_SCALE_KEY}
    try:
        options = algorithm.infer_options(target, own_shapes, constants)
        inner = algorithm(target, **options, **header_values)
        adapter: Adapter = ScalarGate(target, inner) if metadata.get("scalar") is True else inner
        if DORA_SCALE_KEY in shapes:
            adapter = DoRA(target, adapter, infer_dora_axis(target, shapes))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        reason = f"the key {error} is missing." if isinstance(error, KeyError) else str(error)
        raise InputError(f"File `{path}`, layer `{layer.key}` of shape {list(target.shape)}: {reason}") from error
    expected = adapter.state_tensors()
    tensors = {name: _match_trailing_ones(values, expected.get(name)) for name, values in tensors.items()}
    _check_tensors(path, layer, tensors, expected)
    adapter.to_empty(device=layer.weight.device if device is None else device)
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
