"""A method of PEFT on a model: attached new, or loaded from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lycoris.adapters.files.layer_names import LayerRef, find_layers, named_parts
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.layers.target_modules import select_layers
from lycoris.adapters.peft_methods.files import PeftMethodFile
from lycoris.adapters.peft_methods.methods import METHODS, PREFIX, LayerKind, build_config, check_options, method_name
from lycoris.adapters.peft_methods.network import PeftNetwork
from lycoris.errors import InputError

_LAYER_TYPES: Mapping[LayerKind, tuple[type[nn.Module], ...]] = {
    "linear": (nn.Linear,),
    "convolution": (nn.Conv2d,),
    "norm": NORM_LAYERS,
}


@dataclass(frozen=True)
class PeftSpec:
    """Which layers a method of PEFT adapts.

    Attributes:
        algorithm: `peft:` and the name of the method.
    """

    algorithm: str

    def supports(self, layer: object) -> bool:
        """Tell whether a layer can be adapted."""
        kinds = METHODS[self.algorithm.removeprefix(PREFIX)].layers
        return any(isinstance(layer, _LAYER_TYPES[kind]) for kind in kinds)


def attach_method(
    model: object,
    algorithm: str,
    *,
    preset: str | None = None,
    layers: Sequence[str] | Mapping[str, Mapping[str, object]] | None = None,
    exclude: Sequence[str] = (),
    seed: int = 0,
    options: Mapping[str, object],
) -> PeftNetwork:
    """Give the layers of a model a method of PEFT.

    Args:
        model, preset, exclude, seed: as for `attach`.
        algorithm: `peft:` and the name of a method.
        layers: regular expressions instead of a preset.
        options: fields of PEFT's configuration of the method.

    Raises:
        InputError: an unknown method or option, a value that PEFT refuses for a layer, or no match.
    """
    name = method_name(algorithm)
    assert name is not None  # callers ask for methods of PEFT only
    check_options(name, options)
    if isinstance(layers, Mapping):
        raise InputError(f"Algorithm `{algorithm}` has the same options on every layer: give `layers` as a list.")
    parts = named_parts(model)
    selected, preset = select_layers(parts, PeftSpec(algorithm), preset=preset, layers=layers, exclude=exclude)
    by_part: dict[str, list[LayerRef]] = {}
    for layer, _ in selected:
        if not layer.path:
            raise InputError(f"Algorithm `{algorithm}` needs layers in a model, but the model is one layer.")
        by_part.setdefault(layer.part, []).append(layer)
    configs = {part: build_config(name, options, [layer.path for layer in own]) for part, own in by_part.items()}
    settings: dict[str, Any] = {"preset": preset, "layers": list(layers or ()), "exclude": list(exclude), "seed": seed}
    settings |= dict(options)
    return PeftNetwork(algorithm, settings, [layer for layer, _ in selected], parts, configs, seed)


def load_method(file: PeftMethodFile, path: Any, model: object) -> PeftNetwork:
    """Attach the network of a file to a model.

    Args:
        file: from `read_method_file`.
        path: of the file, for messages.
        model: as for `attach`, with the parts that the file has layers of.

    Raises:
        InputError: the model lacks a part or a layer, or the tensors do not fit.
    """
    parts = named_parts(model)
    lone = next(iter(parts)) if len(parts) == 1 else ""
    by_part = {part or lone: each for part, each in file.parts.items()}
    missing = [part for part in by_part if part not in parts]
    if missing:
        what = f"part `{missing[0]}`, which the model lacks" if missing[0] else "a part that it does not name"
        raise InputError(f"File `{path}` is for {what}: give one of {', '.join(parts)}.")
    every_layer = find_layers({part: parts[part] for part in by_part}, MATRIX_LAYERS + NORM_LAYERS)
    layers = [layer for layer in every_layer if _is_adapted(by_part[layer.part].config, layer.path)]
    for part, each in by_part.items():
        each.config.target_modules = sorted(layer.path for layer in layers if layer.part == part)
        if not each.config.target_modules:
            raise InputError(f"File `{path}` adapts no layer of `{part}` of this model.")
    network = PeftNetwork(
        file.algorithm, file.settings, layers, parts, {part: each.config for part, each in by_part.items()}
    )
    try:
        for part, each in by_part.items():
            network.load_tensors(part, each.tensors, path)
    except InputError:
        network.detach()
        raise
    network.eval()
    return network


def _is_adapted(config: Any, path: str) -> bool:
    from peft.tuners.tuners_utils import check_target_module_exists

    return check_target_module_exists(config, path) is True or bool(
        isinstance(config.target_modules, str) and re.fullmatch(config.target_modules, path)
    )
