"""Extraction of an adapter from two checkpoints: the tuned weights less the base's."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.algorithms.target_layer import TargetLayer, is_unquantized
from lycoris.adapters.attaching import freeze, layer_generator
from lycoris.adapters.files.layer_names import LayerRef, named_layers, named_parts
from lycoris.adapters.layers.injection import with_weight
from lycoris.adapters.layers.layer_options import AdapterSpec
from lycoris.adapters.layers.target_modules import select_layers
from lycoris.adapters.low_rank_approximation import (
    ApproximationReport,
    LayerFit,
    check_rank_or_energy,
    truncated_svd,
)
from lycoris.adapters.network import Network
from lycoris.errors import InputError


@torch.no_grad()
def extract(
    base: object,
    tuned: object,
    algorithm: str = "lora",
    *,
    preset: str | None = None,
    layers: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    rank: int | None = None,
    energy: float | None = None,
    alpha: float | None = None,
    factor: int | None = None,
    **options: object,
) -> tuple[Network, ApproximationReport]:
    """Create the adapter whose ΔW is nearest to what tuning changed, layer by layer.

    LoRA, DyLoRA and T-LoRA by singular values (Eckart and Young 1936), LoKr by those of the rearranged weight (Van Loan
    and Pitsianis 1993), LoHa by alternating least squares from a LoRA of its rank, `full` and `norms` exactly.

    Args:
        base: a module, a dict of named modules or a diffusers pipeline; it is frozen and gets the adapter.
        tuned: the same with other weights.
        algorithm: a name of `ALGORITHMS` that adds to a weight.
        preset, layers, exclude: which layers, as for `attach`; by default every one that the algorithm can adapt.
        rank: for each layer at most this many, and what the layer allows.
        energy: instead of a rank, for `lora`, `dylora` and `t-lora`: the smallest rank that keeps this share, in
            (0, 1], of the squared singular values.
        alpha, factor, options: options of the algorithm.

    Returns:
        The network, attached to `base`, on the layers that differ; and a report of errors and of other differences.

    Raises:
        InputError: the models have different layers or the same weights; arguments as for `attach`.
    """
    check_rank_or_energy(rank, energy)
    spec = AdapterSpec(algorithm, {"rank": rank, "alpha": alpha, "factor": factor, **options})
    if energy is not None and not spec.adapter_class.has_exact_rank:
        raise InputError(f"Argument `energy` must be None for `{spec.algorithm}`, but got {energy!r}.")
    if isinstance(layers, Mapping):
        raise InputError("Argument `layers` must be a list of patterns to extract, but got a dict.")
    parts, tuned_parts = named_parts(base), named_parts(tuned)
    preset = "everything" if preset is None and layers is None else preset
    selected, preset = select_layers(parts, spec, preset=preset, layers=layers, exclude=exclude)
    layer_adapters, fits, covered = [], [], set()
    tuned_layers = {part: dict(named_layers(module)) for part, module in tuned_parts.items()}
    for layer, layer_spec in selected:
        tuned_layer = tuned_layers.get(layer.part, {}).get(layer.path, nn.Identity())
        fit_layer = functools.partial(_fit_layer, layer, layer_spec, tuned_layer, energy)
        in_tuned_hooks = functools.partial(with_weight, tuned_layer, layer.name, fit_layer)
        fitted = with_weight(layer.module, layer.name, in_tuned_hooks)
        if fitted is None:
            continue
        adapter, fit = fitted
        layer_adapters.append((layer, adapter))
        fits.append(fit)
        covered |= {f"{layer.name}.weight"} | ({f"{layer.name}.bias"} if adapter.bias_delta() is not None else set())
    if not layer_adapters:
        raise InputError(f"Arguments `base` and `tuned` do not differ in any of the {len(selected)} layers chosen.")
    freeze(parts)
    settings = {"preset": preset, "layers": list(layers or ()), "exclude": list(exclude), **spec.settings()}
    settings |= {} if energy is None else {"energy": energy}
    report = ApproximationReport(tuple(fits), _uncovered_parameters(parts, tuned_parts, covered))
    return Network(spec.algorithm, settings, layer_adapters), report


def _fit_layer(
    layer: LayerRef, spec: AdapterSpec, tuned: nn.Module, energy: float | None
) -> tuple[Adapter, LayerFit] | None:
    """Fit a layer's adapter to its difference from the tuned layer; None where there is none that it can hold."""
    _check_counterpart(layer, tuned)
    delta, bias_delta = _difference(layer, tuned, "weight"), _difference(layer, tuned, "bias")
    adapts_bias = spec.adapter_class.bias_delta is not Adapter.bias_delta
    if delta is None and (bias_delta is None or not adapts_bias):
        return None
    delta = torch.zeros_like(layer.weight, dtype=torch.float64) if delta is None else delta
    target = TargetLayer(layer.name, layer.module, layer_generator(0, layer.key))
    adapter = replace(spec, options=_layer_options(spec, target, delta, energy)).build(target).eval()
    adapter.fit_delta(delta, bias_delta)
    distance = (adapter.structure(layer.weight).dense().double() - delta).norm().item()
    return adapter, LayerFit(layer.name, getattr(adapter, "rank", None), delta.norm().item(), distance)


def _check_counterpart(layer: LayerRef, tuned: nn.Module) -> None:
    """Check that the tuned layer of the same name has a weight of the same shape."""
    weight: Any = getattr(tuned, "weight", None)
    if weight is None:
        raise InputError(f"Argument `tuned` has no layer `{layer.name}` as `base` has.")
    if weight.shape != layer.weight.shape or not is_unquantized(weight) or not is_unquantized(layer.weight):
        raise InputError(
            f"Layer `{layer.name}` must have a weight of one shape and not quantised in `base` and `tuned`, but got "
            f"{list(layer.weight.shape)} of {layer.weight.dtype} and {list(weight.shape)} of {weight.dtype}."
        )


def _difference(layer: LayerRef, tuned: nn.Module, name: str) -> Tensor | None:
    """Return the tuned parameter less the base's in float64; None where they are equal or one is missing."""
    base_values, tuned_values = getattr(layer.module, name, None), getattr(tuned, name, None)
    if base_values is None or tuned_values is None:
        return None
    delta = tuned_values.to(base_values.device, torch.float64) - base_values.double()
    if not torch.isfinite(delta).all():
        raise InputError(f"The {name} of layer `{layer.name}` must be finite in `base` and `tuned`.")
    return delta if delta.any() else None


def _layer_options(spec: AdapterSpec, target: TargetLayer, delta: Tensor, energy: float | None) -> dict[str, object]:
    """Return the spec's options with the rank of this layer."""
    options, rank = dict(spec.options), spec.options.get("rank")
    if energy is not None:
        return {**options, "rank": truncated_svd(delta, energy=energy).up.shape[1]}
    if isinstance(rank, int) and spec.adapter_class.default_rank is not None:
        with_core = options.get("tucker") and len(target.shape) > 2 and max(target.shape[2:]) > 1
        options["rank"] = min(rank, target.shape[0], target.shape[1] if with_core else target.row_size)
    return options


def _uncovered_parameters(
    parts: Mapping[str, nn.Module], tuned_parts: Mapping[str, nn.Module], covered: set[str]
) -> tuple[str, ...]:
    """Return the names of parameters that differ and that no adapter has."""
    uncovered = []
    for part, module in parts.items():
        tuned_parameters = dict(tuned_parts[part].named_parameters()) if part in tuned_parts else {}
        for path, values in module.named_parameters():
            name, tuned = f"{part}.{path}", tuned_parameters.get(path)
            differs = tuned is None or values.shape != tuned.shape or (values != tuned.to(values)).any()
            if name not in covered and differs:
                uncovered.append(name)
    return tuple(uncovered)
