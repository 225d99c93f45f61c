"""Adapters' whole updates, added to a layer's weight and bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter


@torch.no_grad()
def add_updates(
    weight: Tensor, bias: Tensor | None, updates: Sequence[tuple[Adapter, float]]
) -> tuple[Tensor, Tensor | None]:
    """Return a weight and a bias with whole updates added, in float64 where the device has it.

    Args:
        weight: frozen, [out, in / groups, *kernel].
        bias: [out] or None.
        updates: adapters with the scale of each.
    """
    wide = torch.float32 if weight.device.type == "mps" else torch.float64
    new_weight, new_bias = weight.to(wide, copy=True), None if bias is None else bias.to(wide, copy=True)
    for adapter, scale in updates:
        training = adapter.training
        adapter.eval()  # the whole update, not a random part of it as in training
        new_weight += adapter.structure(weight, scale).dense().to(wide)
        bias_delta = adapter.bias_delta()
        if bias_delta is not None:
            assert new_bias is not None  # only layers with a bias have a change of it
            new_bias += bias_delta.to(wide) * scale
        adapter.train(training)
    return new_weight, new_bias


def add_bias_delta(bias: Tensor | None, adapter: Adapter) -> Tensor | None:
    """Return a bias with an adapter's change of it."""
    delta = adapter.bias_delta()
    if delta is None:
        return bias
    delta = delta if adapter.multiplier == 1 else delta * adapter.multiplier
    return delta if bias is None else bias + delta.to(bias.dtype)
