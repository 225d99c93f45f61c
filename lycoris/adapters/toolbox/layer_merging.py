"""The adapters of one layer merged into one: a LoRA with the sum of the changes of the bias, or norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.algorithms.bias import BiasDelta
from lycoris.adapters.algorithms.norms import Norms
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.attaching import layer_generator
from lycoris.adapters.conversion import build_lora
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.low_rank_approximation import (
    LayerFit,
    check_rank_or_energy,
    frobenius_distance,
    to_low_rank,
    truncate,
    truncated_svd,
)
from lycoris.adapters.structures import LowRank
from lycoris.adapters.toolbox.common_layers import WeightedAdapter
from lycoris.adapters.toolbox.merge_methods import METHOD_NAMES, METHODS, MethodName, Pruning
from lycoris.errors import InputError, unknown_name_error


@dataclass(frozen=True)
class MergeSettings:
    """How adapters are merged into one.

    Attributes:
        method: ``"sum"`` of the weighted updates; ``"linear"``, the same of the factors of LoRAs of one rank, which is
            another update; ``"ties"``, ``"dare"``, ``"dare-ties"`` and ``"magnitude"``, on whole updates.
        rank: of each layer at most; by default what the sum needs, for other methods the sum of the ranks.
        energy: instead of a rank: for each layer, the smallest that keeps this share, in (0, 1], of the squared
            singular values.
        density: share of each update that pruning keeps, in (0, 1].
        seed: of what DARE drops.
    """

    method: MethodName = "sum"
    rank: int | None = None
    energy: float | None = None
    density: float = 0.5
    seed: int = 0

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: one is unknown or out of its range.
        """
        check_rank_or_energy(self.rank, self.energy)
        if self.method not in METHOD_NAMES:
            raise unknown_name_error("method", self.method, METHOD_NAMES)
        if isinstance(self.density, bool) or not isinstance(self.density, (int, float)) or not 0 < self.density <= 1:
            raise InputError(f"Argument `density` must be in (0, 1], but got {self.density!r}.")
        layer_generator(self.seed, "")


@torch.no_grad()
def merge_norms(layer: LayerRef, adapters: Sequence[WeightedAdapter]) -> Norms:
    """Return the weighted sum of the updates of a norm layer."""
    norms = Norms(TargetLayer(layer.name, layer.module, uninitialized=True))
    norms = norms.to_empty(device=torch.device("cpu")).double()
    delta = sum(each.weight * each.adapter.structure(layer.weight).dense().double().cpu() for each in adapters)
    assert isinstance(delta, Tensor)
    norms.fit_delta(delta, _bias_sum(adapters))
    return norms


@torch.no_grad()
def merge_layer(
    layer: LayerRef, adapters: Sequence[WeightedAdapter], settings: MergeSettings, dtype: torch.dtype
) -> tuple[Adapter, LayerFit]:
    """Return the LoRA of a layer, with the sum of the changes of its bias, and its error.

    Args:
        layer: the layer; its weight is read only by adapters that depend on it.
        adapters: in float64 and in evaluation mode.
        settings: method and rank.
        dtype: that the factors will be written in.

    Raises:
        InputError: the method does not fit the adapters.
    """
    products = [to_low_rank(each.adapter.structure(layer.weight)) for each in adapters]
    weights = torch.tensor([each.weight for each in adapters], dtype=torch.float64, device=products[0].up.device)
    if settings.method == "linear":
        exact = _linear(layer, adapters)
    elif settings.method == "sum":
        exact = _concatenate(products, weights)
    else:
        pruning = Pruning(settings.density, layer_generator(settings.seed, layer.key))
        updates = torch.stack([product.dense() for product in products])
        delta = METHODS[settings.method](updates, weights, pruning)
        exact = truncated_svd(delta)
        if settings.rank is None and settings.energy is None:
            settings = replace(settings, rank=sum(product.up.shape[1] for product in products))
    product = exact
    if settings.energy is not None or (settings.rank is not None and settings.rank < exact.up.shape[1]):
        product = truncate(exact, settings.rank, settings.energy)
    written = LowRank(product.up.to(dtype).double(), product.down.to(dtype).double())
    distance = frobenius_distance(exact, written)
    fit = LayerFit(layer.name, product.up.shape[1], frobenius_distance(exact), distance)
    lora = build_lora(layer, product)
    bias = _bias_sum(adapters)
    if bias is None:
        return lora, fit
    with_bias = BiasDelta(TargetLayer(layer.name, layer.module, uninitialized=True), lora)
    with_bias.diff_b = nn.Parameter(bias)
    return with_bias, fit


def _concatenate(products: Sequence[LowRank], weights: Tensor) -> LowRank:
    """Return Σ weight · product as one: of the sum of the ranks, or of the largest that the shape allows."""
    up = torch.cat([product.up * weight for product, weight in zip(products, weights, strict=True)], 1)
    product = LowRank(up, torch.cat([product.down for product in products]))
    limit = min(up.shape[0], product.down[0].numel())
    return truncated_svd(product.dense()) if up.shape[1] > limit else product


def _linear(layer: LayerRef, adapters: Sequence[WeightedAdapter]) -> LowRank:
    """Return the product of summed factors, each by the root of its weight and scale, as PEFT's `linear`.

    Raises:
        InputError: an adapter is no LoRA, or the ranks differ.
    """
    structures = [each.adapter.structure(layer.weight) for each in adapters]
    loras = [structure for structure in structures if isinstance(structure, LowRank)]
    ranks = sorted({lora.up.shape[1] for lora in loras})
    if len(loras) < len(structures) or len(ranks) > 1:
        raise InputError(
            f"Method `linear` needs LoRAs of one rank, but layer `{layer.name}` has "
            f"{sorted({each.adapter.algorithm for each in adapters})} of ranks {ranks}. Choose method `sum`."
        )
    factors = [each.weight * float(lora.scale) for each, lora in zip(adapters, loras, strict=True)]
    up = sum(lora.up.double() * math.sqrt(abs(factor)) for lora, factor in zip(loras, factors, strict=True))
    down = sum(
        lora.down.double() * math.copysign(math.sqrt(abs(factor)), factor)
        for lora, factor in zip(loras, factors, strict=True)
    )
    assert isinstance(up, Tensor)
    assert isinstance(down, Tensor)
    return LowRank(up, down)


def _bias_sum(adapters: Sequence[WeightedAdapter]) -> Tensor | None:
    changes = [(each.weight, each.adapter.bias_delta()) for each in adapters]
    found = [weight * change.detach().double() for weight, change in changes if change is not None]
    return torch.stack(found).sum(0) if found else None
