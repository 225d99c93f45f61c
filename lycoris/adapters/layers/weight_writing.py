"""Merging: a layer's adapters folded into its weight, whose original values stay in a buffer outside the state dict."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lycoris.adapters.algorithms.target_layer import is_unquantized
from lycoris.adapters.layers.adapted_layer import AdaptedLayer
from lycoris.adapters.layers.hooks import forward_slots, within_hooks
from lycoris.adapters.layers.merging import add_updates
from lycoris.errors import InputError


def merge(layer: AdaptedLayer, adapter: str) -> None:
    """Fold one adapter into the weight, together with those that are already merged.

    Args:
        layer: the layer.
        adapter: its name in `layer.adapters`.

    Raises:
        InputError: the weight is quantised or not there, or the layer's hooks do not keep what is written into it.
    """
    _set_merged(layer, merged_names(layer) | {adapter})


def unmerge(layer: AdaptedLayer, adapter: str) -> None:
    """Take one adapter out of the weight. Without any, the weight has its original bits.

    Raises:
        InputError: as for `merge`.
    """
    _set_merged(layer, merged_names(layer) - {adapter})


def merged_names(layer: AdaptedLayer) -> set[str]:
    """Return the names of the adapters that the weight holds."""
    return getattr(layer, "_merged", set())


def _set_merged(layer: AdaptedLayer, names: set[str]) -> None:
    """Write the weight with these adapters, and check that the layer's hooks keep it; otherwise nothing is changed."""
    name, before = layer._name, merged_names(layer)
    written = within_hooks(layer, name, lambda: _write(layer, names))
    is_kept = not forward_slots(layer, name) or within_hooks(layer, name, lambda: _holds(layer, written))
    if not is_kept:
        within_hooks(layer, name, lambda: _write(layer, before))
    if not merged_names(layer):
        del layer.original_weight, layer.original_bias
    if not is_kept:
        raise InputError(
            f"Layer `{name}`: its hooks replace or round what is written into its weight, as offloading and casting "
            "do. Merge and unmerge before or after they are there."
        )


@torch.no_grad()
def _write(layer: AdaptedLayer, names: set[str]) -> tuple[Tensor, Tensor | None]:
    """Write the weight and bias with these adapters, and return copies of them."""
    if not is_unquantized(layer.weight) or layer.weight.is_meta:
        state = "has its values elsewhere" if layer.weight.is_meta else f"is quantised: {_describe(layer.weight)}"
        raise InputError(f"Layer `{layer._name}` cannot be merged into: its weight {state}. Keep the adapter live.")
    if getattr(layer, "original_weight", None) is None:
        bias = getattr(layer, "bias", None)
        layer.register_buffer("original_weight", layer.weight.detach().clone(), persistent=False)
        layer.register_buffer("original_bias", None if bias is None else bias.detach().clone(), persistent=False)
    weight, bias = layer.frozen_parameters()
    adapters = [layer.adapters[name] for name in layer.adapters if name in names]
    new_weight, new_bias = add_updates(weight, bias, [(adapter, adapter.multiplier) for adapter in adapters])
    layer.weight.copy_(new_weight if adapters else weight)
    if bias is not None and new_bias is not None:
        cast("Tensor", layer.bias).copy_(new_bias if adapters else bias)
    layer._merged = names
    return _copies(layer)


def _holds(layer: AdaptedLayer, written: tuple[Tensor, Tensor | None]) -> bool:
    """Tell whether the layer has the weight and bias that were written."""
    return all(
        one is other or (one is not None and other is not None and one.dtype == other.dtype and torch.equal(one, other))
        for one, other in zip(_copies(layer), written, strict=True)
    )


def _copies(layer: AdaptedLayer) -> tuple[Tensor, Tensor | None]:
    bias = getattr(layer, "bias", None)
    return layer.weight.detach().clone(), None if bias is None else bias.detach().clone()


def _describe(weight: Tensor) -> str:
    return f"{type(weight).__name__} of {weight.dtype}"
