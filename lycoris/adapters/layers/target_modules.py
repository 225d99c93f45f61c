"""Which layers of a model get an adapter: by a preset, or by patterns that may each have options of their own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from torch import nn

from lycoris.adapters.files.layer_names import LayerRef, find_layers
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.layers.layer_options import AdapterSpec
from lycoris.adapters.layers.presets import PRESETS
from lycoris.errors import InputError, unknown_name_error


def select_layers(
    parts: Mapping[str, nn.Module],
    specs: AdapterSpec | Mapping[str, AdapterSpec],
    *,
    preset: str | None,
    layers: Collection[str] | None,
    exclude: Sequence[str] = (),
) -> tuple[list[tuple[LayerRef, AdapterSpec]], str | None]:
    """The layers that a preset or patterns choose, each with its recipe, and the preset's name (None with patterns).

    Args:
        parts: the model's.
        recipe: one for all, or pattern → recipe, of which the first that matches and fits a layer is the layer's.
        preset, layers, exclude: as for `attach`.

    Raises:
        InputError: both or an unknown preset are given, a pattern is not one, or nothing matches.
    """
    if preset is not None and layers is not None:
        raise InputError(f"Give either `preset` or `layers`, but got {preset!r} and {layers!r}.")
    if isinstance(layers, str) or isinstance(exclude, str):
        raise InputError("Arguments `layers` and `exclude` must be lists of patterns, but got a string.")
    rules = specs if isinstance(specs, Mapping) else {}
    recipes = list(rules.values()) if isinstance(specs, Mapping) else [specs]
    everything = find_layers(parts, MATRIX_LAYERS + NORM_LAYERS)
    able = [place for place in everything if any(one.supports(place.layer) for one in recipes)]
    if layers is None and preset is None:
        preset = "attn-mlp" if any(place.kind != "model" for place in everything) else "everything"
    if preset is not None and preset not in PRESETS:
        raise unknown_name_error("preset", preset, PRESETS)

    def ways(kind: str) -> list[tuple[list[re.Pattern[str]], AdapterSpec]]:
        if preset is not None:
            return [(_compile_patterns("preset", PRESETS[preset].get(kind, ())), recipes[0])]
        if rules:
            return [(_compile_patterns("layers", [pattern]), one) for pattern, one in rules.items()]
        return [(_compile_patterns("layers", layers), recipes[0])]

    wanted = {kind: ways(kind) for kind in ("unet", "transformer", "text", "model")}
    unwanted = _compile_patterns("exclude", exclude)
    found: list[tuple[LayerRef, AdapterSpec]] = []
    for place in able:
        fits = (own for patterns, own in wanted[place.kind] if own.supports(place.layer) and _matches(place, patterns))
        own = next(fits, None)
        if own is not None and not _matches(place, unwanted):
            found.append((place, own))
    idle = [pattern for pattern, one in rules.items() if all(own is not one for _, own in found)]
    if not found or idle:
        what = f"preset `{preset}`" if preset is not None else f"patterns {idle or list(layers or ())}"
        names = "`, `".join(sorted({one.algorithm for one in recipes}))
        raise InputError(f"No layer matches {what} with `{names}`. {_suggest_layers(able)}")
    keys: dict[str, LayerRef] = {}
    for place, _ in found:
        other = keys.setdefault(place.key, place)
        if other is not place:
            raise InputError(f"Layers `{other.name}` and `{place.name}` would share the file name `{place.key}`.")
    return found, preset


def _compile_patterns(argument: str, patterns: Collection[str] | None) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in patterns or ()]
    except (re.error, TypeError) as error:
        raise InputError(
            f"Argument `{argument}` must hold regular expressions, but got {patterns!r}: {error}."
        ) from None


def _matches(place: LayerRef, patterns: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(place.path) or pattern.fullmatch(place.name) for pattern in patterns)


def _suggest_layers(able: Sequence[LayerRef]) -> str:
    if not able:
        return "The model has no layer that it can adapt."
    shapes: dict[str, int] = {}
    for place in able:
        pattern = re.sub(r"\.\d+(?=\.|$)", ".*", place.name)
        shapes[pattern] = shapes.get(pattern, 0) + 1
    listed = [f"{pattern} ({count})" for pattern, count in shapes.items()]
    rest = f", and {len(listed) - 40} more" if len(listed) > 40 else ""
    return f"It could match: {', '.join(listed[:40])}{rest}."
