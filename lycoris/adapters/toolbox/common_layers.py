"""The layers of several adapter files as those of one model, each with every file's adapter of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.conversion import layers_without_model
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.layer_lookup import find_targets
from lycoris.adapters.files.layer_names import LayerRef, find_layers, named_parts
from lycoris.adapters.files.state_dict import build_adapters
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.meta_model import meta_modules
from lycoris.errors import InputError


class WeightedAdapter(NamedTuple):
    """One file's adapter of a layer, and the file's weight."""

    adapter: Adapter
    weight: float


class LayerGroup(NamedTuple):
    """A layer and the adapters that files have for it."""

    layer: LayerRef
    adapters: list[WeightedAdapter]


def group_by_layer(
    files: Sequence[AdapterFile], weights: Sequence[float], model: object | None
) -> tuple[list[LayerGroup], list[LayerRef]]:
    """Return each layer with every file's adapter of it, and all layers.

    Args:
        files: the files.
        weights: of each.
        model: what they were made for; None infers it from names and shapes.

    Raises:
        InputError: as for `load`; the files are for different models, or a model is needed.
    """
    if model is not None:
        layers = find_layers(named_parts(model), MATRIX_LAYERS + NORM_LAYERS)
        built = [build_adapters(file, find_targets(file, layers), layers) for file in files]
    else:
        inferred = [layers_without_model(file, needs_path=True, needs_kernel=True) for file in files]
        cpu = torch.device("cpu")
        built = [
            build_adapters(file, each.targets, each.layers, cpu) for file, each in zip(files, inferred, strict=True)
        ]
        layers = _common_layers(files, [each.layers for each in inferred])
    by_place: dict[tuple[str, str], list[WeightedAdapter]] = {}
    for each, weight in zip(built, weights, strict=True):
        for layer, adapter in each.layer_adapters:
            by_place.setdefault(_place(layer), []).append(WeightedAdapter(adapter.eval().double(), weight))
    return [
        LayerGroup(layer, by_place[layer.part, layer.path]) for layer in layers if _place(layer) in by_place
    ], layers


def _place(layer: LayerRef) -> tuple[str, str]:
    return layer.part, layer.path


def _common_layers(files: Sequence[AdapterFile], inferred: Sequence[Sequence[LayerRef]]) -> list[LayerRef]:
    """Return the layers of all files as those of one model, on the meta device.

    Raises:
        InputError: two files have different layers in one place, or are for denoisers of different families.
    """
    modules: dict[tuple[str, str], nn.Module] = {}
    first: dict[tuple[str, str], AdapterFile] = {}
    for file, layers in zip(files, inferred, strict=True):
        for layer in layers:
            known = modules.setdefault(_place(layer), layer.module)
            first.setdefault(_place(layer), file)
            if _shape(known) != _shape(layer.module) or type(known) is not type(layer.module):
                raise InputError(
                    f"Files `{first[_place(layer)].path}` and `{file.path}` are for different models: layer "
                    f"`{layer.name}` has a weight of shape {_shape(known)} and {_shape(layer.module)}."
                )
            if getattr(layer.module, "bias", None) is not None:
                modules[_place(layer)] = layer.module
    families = {layer.family.name: layer.family for layers in inferred for layer in layers if layer.family is not None}
    denoisers = {part for part, _ in modules if part in ("unet", "transformer")}
    if len(families) > 1 or len(denoisers) > 1:
        raise InputError(
            f"The files are for different models: {', '.join(sorted(families) or sorted(denoisers))}. Only adapters of "
            "one model can be merged."
        )
    parts = meta_modules(modules, next(iter(families.values()), None))
    if any(layer.key.startswith("lora_te1_") for layers in inferred for layer in layers):
        parts.setdefault("text_encoder_2", nn.Module())  # te1 is the first of several
    return find_layers(parts, MATRIX_LAYERS + NORM_LAYERS)


def _shape(module: nn.Module) -> list[int]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return list(weight.shape)
