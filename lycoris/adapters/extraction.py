"""An adapter from two checkpoints: what was tuned, less what it was tuned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import TargetLayer, is_unquantized
from lycoris.adapters.files.layer_names import LayerRef, named_parts
from lycoris.adapters.layers.layer_options import AdapterSpec
from lycoris.adapters.layers.target_modules import select_layers
from lycoris.adapters.low_rank_approximation import ApproximationReport, LayerFit, check_rank_or_energy, truncated_svd
from lycoris.adapters.network import Network, freeze, layer_generator
from lycoris.errors import InputError

_LOW_RANK_ALGORITHMS = ("lora", "dylora", "t-lora")
"""Algorithms whose rank is that of the change, so that an energy tells it."""


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
    """The adapter whose change of a model's weights is nearest to what tuning changed, layer by layer.

    LoRA, DyLoRA and T-LoRA by singular values, LoKr by those of the rearranged weight (Van Loan and Pitsianis 1993),
    LoHa by alternating least squares from a LoRA of its rank, `full` and `norms` as they are.

    Args:
        base: a module, a dict of named modules or a pipeline; it is frozen and gets the adapter.
        tuned: the same with other weights.
        algorithm: a name of `ALGORITHMS` that adds to a weight.
        preset, layers, exclude: which layers, as for `attach`; by default every one that it can adapt.
        rank: for each layer at most this many, and what the layer allows.
        energy: instead, for LoRA's kind, the smallest rank that keeps this share, in (0, 1], of the change's squared
            singular values.
        alpha, factor, options: as the algorithm has them.

    Returns:
        The network, attached to `base`, of the layers whose weight differs, with the relative error of each layer and
        in all; what else differs is named there.

    Raises:
        InputError: models of different layers, or the same weights; arguments as for `attach`.
    """
    check_rank_or_energy(rank, energy)
    given = {"rank": rank, "alpha": alpha, "factor": factor, **options}
    recipe = AdapterSpec(algorithm, given)
    if energy is not None and recipe.algorithm not in _LOW_RANK_ALGORITHMS:
        raise InputError(f"Argument `energy` must be None for `{recipe.algorithm}`, but got {energy!r}.")
    if isinstance(layers, Mapping):
        raise InputError("Argument `layers` must be a list of patterns to extract, but got a dict.")
    parts, others = named_parts(base), named_parts(tuned)
    preset = "everything" if preset is None and layers is None else preset
    chosen, preset = select_layers(parts, recipe, preset=preset, layers=layers, exclude=exclude)
    made, fits, taken = [], [], set()
    for place, own in chosen:
        other = _counterpart(place, others)
        change, shift = _difference(place, other, "weight"), _difference(place, other, "bias")
        if change is None and (shift is None or own.algorithm not in ("full", "norms")):
            continue
        change = torch.zeros_like(place.weight, dtype=torch.float64) if change is None else change
        site = TargetLayer(place.name, place.layer, layer_generator(0, place.key))
        adapter = replace(own, options=_layer_options(own, site, change, energy)).build(site).eval()
        adapter.fit_delta(change, shift)
        distance = (adapter.structure(place.weight).dense().double() - change).norm().item()
        fits.append(LayerFit(place.name, getattr(adapter, "rank", None), change.norm().item(), distance))
        made.append((place, adapter))
        taken |= {f"{place.name}.weight"} | ({f"{place.name}.bias"} if adapter.bias() is not None else set())
    if not made:
        raise InputError(f"Arguments `base` and `tuned` do not differ in any of the {len(chosen)} layers chosen.")
    freeze(parts)
    settings = {"preset": preset, "layers": list(layers or ()), "exclude": list(exclude), **recipe.settings()}
    settings |= {} if energy is None else {"energy": energy}
    report = ApproximationReport(tuple(fits), _uncovered_parameters(parts, others, taken))
    return Network(recipe.algorithm, settings, made), report


def _counterpart(place: LayerRef, others: Mapping[str, nn.Module]) -> nn.Module:
    other: Any
    try:
        other = others[place.part].get_submodule(place.path)
        fits = other.weight.shape == place.weight.shape
    except (KeyError, AttributeError):
        raise InputError(f"Argument `tuned` has no layer `{place.name}` as `base` has.") from None
    if not fits or not is_unquantized(other.weight) or not is_unquantized(place.weight):
        raise InputError(
            f"Layer `{place.name}` must have a weight of one shape and not quantised in `base` and `tuned`, but got "
            f"{list(place.weight.shape)} of {place.weight.dtype} and {list(other.weight.shape)} of "
            f"{other.weight.dtype}."
        )
    return other


def _difference(place: LayerRef, other: nn.Module, name: str) -> Tensor | None:
    """Tuned less base in float64, None where there is none."""
    ours, theirs = getattr(place.layer, name, None), getattr(other, name, None)
    if ours is None or theirs is None:
        return None
    change = theirs.to(ours.device, torch.float64) - ours.double()
    if not torch.isfinite(change).all():
        raise InputError(f"The {name} of layer `{place.name}` must be finite in `base` and `tuned`.")
    return change if change.any() else None


def _layer_options(recipe: AdapterSpec, site: TargetLayer, change: Tensor, energy: float | None) -> dict[str, object]:
    """The recipe's options with the rank that this layer gets."""
    options, asked = dict(recipe.options), recipe.options.get("rank")
    if energy is not None:
        return {**options, "rank": truncated_svd(change, energy=energy).up.shape[1]}
    if isinstance(asked, int) and recipe.algorithm in (*_LOW_RANK_ALGORITHMS, "loha"):
        cored = options.get("tucker") and len(site.shape) > 2 and max(site.shape[2:]) > 1
        options["rank"] = min(asked, site.shape[0], site.shape[1] if cored else site.row_size)
    return options


def _uncovered_parameters(
    parts: Mapping[str, nn.Module], others: Mapping[str, nn.Module], taken: set[str]
) -> tuple[str, ...]:
    """Names of parameters that differ and that no adapter has."""
    found = []
    for part, module in parts.items():
        theirs = dict(others[part].named_parameters()) if part in others else {}
        for path, ours in module.named_parameters():
            name, other = f"{part}.{path}", theirs.get(path)
            if name not in taken and (other is None or ours.shape != other.shape or (ours != other.to(ours)).any()):
                found.append(name)
    return tuple(found)
