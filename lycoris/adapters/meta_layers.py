"""The layers of a file without its model: on the meta device, as far as names and shapes tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from lycoris.adapters.algorithms.adapter import Algorithm
from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY
from lycoris.adapters.algorithms.norms import Norms
from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.families import OriginalRows
from lycoris.adapters.files.fused_rows import member_rows
from lycoris.adapters.files.layer_lookup import Target
from lycoris.adapters.files.layer_names import LayerRef, find_layers
from lycoris.adapters.files.metadata import read_json_entry
from lycoris.adapters.files.name_resolution import Place, resolve_names
from lycoris.adapters.files.state_dict import find_algorithm
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.meta_model import meta_layer, meta_modules
from lycoris.errors import InputError

Unknown = Literal["the path of", "the kernel of", "the rows of q, k and v in"]


@dataclass
class InferredLayers:
    """Layers inferred from a file.

    Attributes:
        layers: the layers, on the meta device.
        targets: name in the file → layers.
        unknown: name in the file → what is not certain about it.
    """

    layers: list[LayerRef] = field(default_factory=list)
    targets: dict[str, list[Target]] = field(default_factory=dict)
    unknown: dict[str, Unknown] = field(default_factory=dict)


def infer_layers(file: AdapterFile) -> InferredLayers:
    """Infer the layers from a file's names and shapes, and which of their properties stay unknown.

    Raises:
        InputError: a layer has tensors of no algorithm, or shapes or a name that no model has.
    """
    kernels = read_json_entry(file.path, file.metadata, "lycoris.kernels")
    places, family = resolve_names(file.layers, file.metadata)
    modules: dict[tuple[str, str], nn.Module] = {}
    rows: dict[str, list[tuple[tuple[str, str], OriginalRows | None]]] = {}
    inferred = InferredLayers()
    for name, place in places.items():
        algorithm, shape = infer_shape(file, name)
        bias = bool({"diff_b", "b_norm", "lora_bias"} & set(file.layers[name]))
        members = _members(place, shape)
        if members is None:
            inferred.unknown[name] = "the rows of q, k and v in"
            members = [(place.paths[0], None)]
        for path, member in members:
            member_shape = shape if member is None else (member.count, *shape[1:])
            layer, is_certain = meta_layer(name, algorithm, member_shape, path, kernels.get(name), bias)
            modules[place.part, path] = layer
            if not place.is_certain:
                inferred.unknown[name] = "the path of"
            elif not is_certain and not algorithm.uses_base_weight:
                inferred.unknown.setdefault(name, "the kernel of")
        rows[name] = [((place.part, path), member) for path, member in members]
    parts = meta_modules(modules, family)
    if any(name.startswith("lora_te1_") for name in file.layers):
        parts.setdefault("text_encoder_2", nn.Module())  # te1 is the first of several
    inferred.layers = find_layers(parts, MATRIX_LAYERS + NORM_LAYERS)
    by_place = {(layer.part, layer.path): layer for layer in inferred.layers}
    inferred.targets = {
        name: [Target(by_place[place], member) for place, member in members] for name, members in rows.items()
    }
    return inferred


def infer_shape(file: AdapterFile, name: str) -> tuple[type[Algorithm], tuple[int | None, ...]]:
    """Return a layer's algorithm and the shape of its weight as far as the tensors tell.

    Args:
        file: the file.
        name: of the layer in it.

    Raises:
        InputError: no algorithm has its tensors.
    """
    tensors = file.layers[name]
    shapes = {key: tuple(values.shape) for key, values in tensors.items()}
    if set(shapes) <= {"diff", "diff_b"} and len(shapes.get("diff", ())) == 1:
        return Norms, shapes["diff"]
    algorithm = find_algorithm(file.path, name, shapes, file.layer_metadata(name))
    try:
        constants = {key: values.item() for key, values in tensors.items() if values.numel() == 1}
        shape = list(algorithm.infer_shape(shapes, constants))
        magnitude = shapes.get(DORA_SCALE_KEY, ())
        if algorithm.uses_base_weight and len(magnitude) > 1:
            shape[0 if magnitude[0] != 1 else 1] = max(magnitude)
            shape += magnitude[len(shape) :]
        if not shape:
            raise ValueError("its tensors are single numbers, which no weight is.")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        reason = f"the key {error} is missing." if isinstance(error, KeyError) else str(error)
        raise InputError(f"File `{file.path}`, layer `{name}`: {reason}") from None
    return algorithm, tuple(shape)


def _members(place: Place, shape: tuple[int | None, ...]) -> list[tuple[str, OriginalRows | None]] | None:
    """Return the layers at a place with their rows; None where the rows are open."""
    total, inputs = shape[0], shape[1] if len(shape) > 1 else None
    is_swapped = place.halves_swapped(total, inputs)
    if len(place.paths) == 1 and not is_swapped:
        return [(place.paths[0], None)]
    if total is None or (inputs is None and len(place.paths) > 1):
        return None
    counts = member_rows(total, inputs or 0, len(place.paths))
    if counts is None:
        return None
    members: list[tuple[str, OriginalRows | None]] = []
    first = 0
    for index, (path, count) in enumerate(zip(place.paths, counts, strict=True)):
        rows = OriginalRows("", index, first, count, total, is_swapped)
        members += [(path, rows)] if count else []
        first += count
    return members
