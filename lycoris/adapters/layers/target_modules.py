"""Selection of the layers to adapt, by a preset or by patterns with options of their own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from torch import nn

from lycoris.adapters.files.layer_names import LayerRef, find_layers
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.layers.presets import PRESETS
from lycoris.errors import InputError, unknown_name_error

_MAX_SUGGESTIONS = 40


@runtime_checkable
class LayerSpec(Protocol):
    """What is put on a layer: `AdapterSpec`, or a method of PEFT."""

    @property
    def algorithm(self) -> str: ...
    def supports(self, layer: object) -> bool: ...


SpecT = TypeVar("SpecT", bound=LayerSpec)
_Rule = tuple[list[re.Pattern[str]], SpecT]
"""Patterns, and the spec of a layer that matches one of them."""


def select_layers(
    parts: Mapping[str, nn.Module],
    specs: SpecT | Mapping[str, SpecT],
    *,
    preset: str | None,
    layers: Collection[str] | None,
    exclude: Sequence[str] = (),
) -> tuple[list[tuple[LayerRef, SpecT]], str | None]:
    """Select the layers to adapt.

    Args:
        parts: named parts of the model.
        specs: one for all layers, or pattern → spec. A layer gets the first spec that supports it and whose pattern
            matches.
        preset, layers, exclude: as for `attach`.

    Returns:
        The layers, each with its spec, and the name of the preset in use (None with patterns).

    Raises:
        InputError: `preset` and `layers` are both given, a preset is unknown, a pattern is not a regular expression,
            or nothing matches.
    """
    if preset is not None and layers is not None:
        raise InputError(f"Give either `preset` or `layers`, but got {preset!r} and {layers!r}.")
    if isinstance(layers, str) or isinstance(exclude, str):
        raise InputError("Arguments `layers` and `exclude` must be lists of patterns, but got a string.")
    by_pattern = specs if isinstance(specs, Mapping) else {}
    all_specs = list(by_pattern.values()) if isinstance(specs, Mapping) else [specs]
    every_layer = find_layers(parts, MATRIX_LAYERS + NORM_LAYERS)
    supported = [layer for layer in every_layer if any(spec.supports(layer.module) for spec in all_specs)]
    if layers is None and preset is None:
        preset = "attn-mlp" if any(layer.kind != "model" for layer in every_layer) else "everything"
    if preset is not None and preset not in PRESETS:
        raise unknown_name_error("preset", preset, PRESETS)

    def rules(kind: str) -> list[_Rule[SpecT]]:
        if preset is not None:
            return [(_compile_patterns("preset", PRESETS[preset].get(kind, ())), all_specs[0])]
        if by_pattern:
            return [(_compile_patterns("layers", [pattern]), spec) for pattern, spec in by_pattern.items()]
        return [(_compile_patterns("layers", layers), all_specs[0])]

    rules_by_kind = {kind: rules(kind) for kind in ("unet", "transformer", "text", "model")}
    excluded = _compile_patterns("exclude", exclude)
    selected: list[tuple[LayerRef, SpecT]] = []
    for layer in supported:
        spec = _matching_spec(layer, rules_by_kind[layer.kind])
        if spec is not None and not _matches(layer, excluded):
            selected.append((layer, spec))
    unused = [pattern for pattern, spec in by_pattern.items() if all(each is not spec for _, each in selected)]
    if not selected or unused:
        what = f"preset `{preset}`" if preset is not None else f"patterns {unused or list(layers or ())}"
        names = "`, `".join(sorted({spec.algorithm for spec in all_specs}))
        raise InputError(f"No layer matches {what} with `{names}`. {_suggest_layers(supported)}")
    _check_unique_keys(layer for layer, _ in selected)
    return selected, preset


def _matching_spec(layer: LayerRef, rules: Sequence[_Rule[SpecT]]) -> SpecT | None:
    return next((spec for patterns, spec in rules if spec.supports(layer.module) and _matches(layer, patterns)), None)


def _check_unique_keys(layers: Iterable[LayerRef]) -> None:
    by_key: dict[str, LayerRef] = {}
    for layer in layers:
        other = by_key.setdefault(layer.key, layer)
        if other is not layer:
            raise InputError(f"Layers `{other.name}` and `{layer.name}` would share the file name `{layer.key}`.")


def _compile_patterns(argument: str, patterns: Collection[str] | None) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in patterns or ()]
    except (re.error, TypeError) as error:
        raise InputError(
            f"Argument `{argument}` must hold regular expressions, but got {patterns!r}: {error}."
        ) from None


def _matches(layer: LayerRef, patterns: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(layer.path) or pattern.fullmatch(layer.name) for pattern in patterns)


def _suggest_layers(supported: Sequence[LayerRef]) -> str:
    if not supported:
        return "The model has no layer that it can adapt."
    counts: dict[str, int] = {}
    for layer in supported:
        pattern = re.sub(r"\.\d+(?=\.|$)", ".*", layer.name)
        counts[pattern] = counts.get(pattern, 0) + 1
    lines = [f"{pattern} ({count})" for pattern, count in counts.items()]
    rest = f", and {len(lines) - _MAX_SUGGESTIONS} more" if len(lines) > _MAX_SUGGESTIONS else ""
    return f"It could match: {', '.join(lines[:_MAX_SUGGESTIONS])}{rest}."
