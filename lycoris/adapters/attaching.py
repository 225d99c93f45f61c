"""Attaching new adapters to a model."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.files.layer_names import named_parts
from lycoris.adapters.layers.dropout import Dropout
from lycoris.adapters.layers.injection import with_weight
from lycoris.adapters.layers.layer_options import AdapterSpec
from lycoris.adapters.layers.target_modules import LayerRef, select_layers
from lycoris.adapters.network import Network
from lycoris.adapters.peft_methods.attaching import attach_method
from lycoris.adapters.peft_methods.injection import adapter_parameters
from lycoris.adapters.peft_methods.methods import PREFIX
from lycoris.errors import InputError

logger = logging.getLogger(__name__)


def attach(
    model: object,
    algorithm: str = "lora",
    *,
    preset: str | None = None,
    layers: Sequence[str] | Mapping[str, Mapping[str, object]] | None = None,
    exclude: Sequence[str] = (),
    rank: int | None = None,
    alpha: float | None = None,
    factor: int | None = None,
    dora: Literal["output", "input"] | None = None,
    scalar: bool = False,
    dropout: float = 0.0,
    rank_dropout: float = 0.0,
    module_dropout: float = 0.0,
    seed: int = 0,
    **options: object,
) -> Network:
    """Freeze a model and give its layers adapters, which change nothing until they are trained.

    Args:
        model: a module, a dict of named modules (``{"unet": ..., "text_encoder": ...}``) or a diffusers pipeline.
        algorithm: a name of `ALGORITHMS`; ``"native"`` is ``"full"``. ``"peft:oft"`` is a method of the package peft,
            whose options are the fields of its configuration.
        preset: a name of `PRESETS`. With neither this nor `layers`: ``"attn-mlp"``, or ``"everything"`` for a lone
            module of no known kind.
        layers: regular expressions instead of a preset, each matched against a layer's whole path, with or without the
            part's name in front. A dict gives each pattern its own options, and the first match decides:
            ``{r".*attn.*": {"rank": 16}, r".*ff.*": {"algorithm": "lokr", "factor": 8}}``. A rule with an algorithm
            starts from that algorithm's defaults, any other from the options of this call.
        exclude: regular expressions of layers to leave out.
        rank, alpha, factor: options of the algorithm; None is its default.
        dora: train the norms of the weight's rows ("output") or columns ("input") separately (arXiv 2402.09353).
        scalar: multiply ΔW by a trained number that starts at 0, so that no factor of the algorithm has to.
        dropout: probability in [0, 1) of dropping elements of ΔW's output in training.
        rank_dropout: the same for output channels of ΔW.
        module_dropout: the same for a layer's whole adapter.
        seed: of the initial values, at least 0. Those of a layer depend only on it and on the layer's name.
        options: further options of the algorithm, such as `tucker`.

    Raises:
        InputError: an unknown algorithm, preset, part or option, a value that a layer does not allow, or no match.
    """
    if algorithm.startswith(PREFIX):
        own = {"rank": rank, "alpha": alpha, "factor": factor, "dora": dora, "scalar": scalar or None}
        own |= {
            "dropout": dropout or None,
            "rank_dropout": rank_dropout or None,
            "module_dropout": module_dropout or None,
        }
        named = {name: value for name, value in own.items() if value is not None}
        return attach_method(
            model, algorithm, preset=preset, layers=layers, exclude=exclude, seed=seed, options={**named, **options}
        )
    spec = AdapterSpec(algorithm, {"rank": rank, "alpha": alpha, "factor": factor, **options}, dora, scalar)
    rules = layers if isinstance(layers, Mapping) else {}
    specs = _specs_of_rules(rules, spec)
    layer_dropout = Dropout(dropout, rank_dropout, module_dropout)
    parts = named_parts(model)
    selected, preset = select_layers(parts, specs or spec, preset=preset, layers=layers, exclude=exclude)
    layer_adapters = []
    for layer, layer_spec in selected:
        generator = layer_generator(seed, layer.key)
        target = TargetLayer(layer.name, layer.module, generator, scalar=layer_spec.scalar)
        adapter = with_weight(layer.module, layer.name, functools.partial(layer_spec.build, target))
        adapter.dropout = layer_dropout
        layer_adapters.append((layer, adapter))
    _log_start_errors(layer_adapters)
    freeze(parts)
    algorithms = {layer_spec.algorithm for _, layer_spec in selected}
    plain_layers = {pattern: dict(rule) for pattern, rule in rules.items()} or list(layers or ())
    settings: dict[str, Any] = {"preset": preset, "layers": plain_layers, "exclude": list(exclude), "seed": seed}
    settings |= {**spec.settings(), **layer_dropout.settings()}
    return Network(algorithms.pop() if len(algorithms) == 1 else "mixed", settings, layer_adapters)


def _specs_of_rules(rules: Mapping[str, Mapping[str, object]], spec: AdapterSpec) -> dict[str, AdapterSpec]:
    """Return pattern → spec, checked to use the options of the call."""
    specs = {pattern: AdapterSpec.from_rule(rule, spec) for pattern, rule in rules.items()}
    unused = list(spec.settings())
    if unused and specs and all("algorithm" in rule for rule in rules.values()):
        raise InputError(f"Every rule of `layers` names its algorithm, so that none has the call's {unused}.")
    return specs


def _log_start_errors(layer_adapters: Sequence[tuple[LayerRef, Adapter]]) -> None:
    """Log how far the singular components that adapters start from are from exact, if they are not."""
    errors = [(getattr(adapter, "start_error", 0.0), layer.name) for layer, adapter in layer_adapters]
    if inexact := sorted(each for each in errors if each[0]):
        logger.info(
            "%d layers start from singular components by subspace iteration: the relative residual is %.2g in the "
            "median, and at most %.2g (`%s`).",
            len(inexact),
            inexact[len(inexact) // 2][0],
            *inexact[-1],
        )


def freeze(parts: Mapping[str, nn.Module]) -> None:
    """Stop the training of the base's parameters; those of adapters stay as they are."""
    for part in parts.values():
        trainable = {id(parameter) for parameter in adapter_parameters(part)}
        for parameter in part.parameters():
            if id(parameter) not in trainable:
                parameter.requires_grad_(False)


def layer_generator(seed: int, key: str) -> torch.Generator:
    """Return the source of a layer's initial values: a stream that depends only on the seed and its name in files.

    Raises:
        InputError: the seed is not a whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"Argument `seed` must be a whole number of at least 0, but got {seed!r}.")
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
