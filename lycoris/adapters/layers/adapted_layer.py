"""Layers that carry adapters: the layer itself under a subclass of its type, so that names, keys and hooks stay.

`inject` gives a layer the class `Adapted<Type>` and the module dict `adapters`; `eject` takes both away. The base
parameter is never replaced: merging changes its values and keeps the originals in a buffer outside the state dict.
"""

from __future__ import annotations

import functools
import math
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.algorithms.target_layer import is_unquantized
from lycoris.adapters.layers.grouped_forward import add_grouped_updates, row_segments
from lycoris.adapters.layers.merged_forward import forward_merged
from lycoris.adapters.layers.merging import add_bias_delta, add_updates
from lycoris.adapters.structures import Operation, Structure
from lycoris.errors import InputError

MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM_LAYERS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class _AdaptedLayer(nn.Module):
    """What every adapted layer has beyond its own type: adapters, and the original values while some are merged."""

    weight: Tensor
    adapters: MutableMapping[str, Adapter]  # an `nn.ModuleDict`, which does not know the type of its values
    original_weight: Tensor
    original_bias: Tensor | None
    _merged: set[str]

    def frozen_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return the frozen weight and bias, without what is merged."""
        weight = getattr(self, "original_weight", None)
        bias = getattr(self, "original_bias", None)
        return self.weight if weight is None else weight, getattr(self, "bias", None) if bias is None else bias

    def active_adapters(self) -> list[Adapter]:
        """Return the adapters that act on this call; in training, module dropout leaves some out."""
        merged = self.__dict__.get("_merged", ())
        active = []
        for name, adapter in self.adapters.items():
            partition = adapter.batch_partition
            if adapter.multiplier == 0 or name in merged or (partition is not None and partition.is_empty):
                continue
            dropout = adapter.dropout
            if dropout.modules and adapter.training:
                with adapter.random_stream():
                    if torch.rand(()).item() < dropout.modules:
                        continue
            active.append(adapter)
        return active

    def merge(self, name: str) -> None:
        """Fold one adapter into the weight, together with those that are already merged."""
        if not is_unquantized(self.weight):
            raise InputError(f"A weight of dtype {self.weight.dtype} cannot be merged into; keep the adapter live.")
        if not self.__dict__.get("_merged"):
            self.register_buffer("original_weight", self.weight.detach().clone(), persistent=False)
            bias = getattr(self, "bias", None)
            self.register_buffer("original_bias", None if bias is None else bias.detach().clone(), persistent=False)
        self._merged = {*self.__dict__.get("_merged", ()), name}
        self._rewrite_weight()

    def unmerge(self, name: str) -> None:
        """Take one adapter out of the weight. Without any, the weight has its original bits."""
        self._merged = self.__dict__.get("_merged", set()) - {name}
        self._rewrite_weight()
        if not self._merged:
            del self._merged, self.original_weight, self.original_bias

    @torch.no_grad()
    def _rewrite_weight(self) -> None:
        weight, bias = self.frozen_parameters()
        merged = [self.adapters[name] for name in self.adapters if name in self._merged]
        new_weight, new_bias = add_updates(weight, bias, [(adapter, adapter.multiplier) for adapter in merged])
        self.weight.copy_(new_weight if merged else weight)
        if bias is not None and new_bias is not None:
            live_bias = cast("Tensor", self.bias)
            live_bias.copy_(new_bias if merged else bias)

    def merged_parameters(self, adapters: list[Adapter], structures: list[Structure]) -> tuple[Tensor, Tensor | None]:
        """Return the weight with these structures added, and the bias with these adapters' changes."""
        weight, bias = self.weight, cast("Tensor | None", getattr(self, "bias", None))
        for structure in structures:
            weight = structure.add_to(weight)
        for adapter in adapters:
            bias = add_bias_delta(bias, adapter)
        return weight, bias


@dataclass(slots=True)
class _ForwardPlan:
    """How some adapters of a layer act on some rows: added to the weight, or applied to the input."""

    merged: list[tuple[Adapter, Structure]]
    applied: list[tuple[Adapter, Structure]]

    @property
    def is_addition(self) -> bool:
        """Whether the plan only adds one structure to the frozen output."""
        if self.merged or len(self.applied) != 1:
            return False
        adapter, structure = self.applied[0]
        has_dropout = adapter.training and adapter.dropout
        return not (structure.uses_base_output or has_dropout) and adapter.bias_delta() is None


class _AdaptedMatrix(_AdaptedLayer):
    """A Linear or convolution with adapters: y = op(x, W + Σ ΔW), each ΔW applied in the cheaper way."""

    _operation: Operation

    def forward(self, x: Tensor) -> Tensor:
        adapters = self.active_adapters()
        if not adapters:
            return super().forward(x)
        op = self._operation
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        shape = x.shape
        if op.dims == 0 and x.dim() != 2:
            x = x.reshape(-1, shape[-1])
        elif op.dims and x.dim() == op.dims + 1:
            x = x.unsqueeze(0)
        if any(adapter.batch_partition is not None for adapter in adapters):
            y = self._forward_partitioned(x, adapters)
        else:
            y = self._forward_planned(x, self._plan(x.shape[0] * self._output_positions(x), x.dtype, adapters))
        if op.dims == 0:
            return y if len(shape) == 2 else y.view(*shape[:-1], y.shape[-1])
        return y if len(shape) == op.dims + 2 else y.squeeze(0)

    def _forward_partitioned(self, x: Tensor, adapters: list[Adapter]) -> Tensor:
        """Apply each network's adapter to its own rows; plans that only add share one frozen operation."""
        groups: list[tuple[bool, list[int], list[_ForwardPlan]]] = []
        for rows, segment_adapters in row_segments(adapters, x.shape[0]):
            plan = self._plan(rows * self._output_positions(x), x.dtype, segment_adapters)
            if not (plan.is_addition and groups and groups[-1][0]):
                groups.append((plan.is_addition, [], []))
            groups[-1][1].append(rows)
            groups[-1][2].append(plan)
        outputs = []
        for (adds, counts, plans), piece in zip(groups, x.split([sum(rows) for _, rows, _ in groups]), strict=True):
            if adds:
                structures = [plan.applied[0][1] for plan in plans]
                output = add_grouped_updates(self._operation, piece, self._frozen_output(piece), structures, counts)
                outputs.append(output)
            else:
                outputs.append(self._forward_planned(piece, plans[0]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _output_positions(self, x: Tensor) -> int:
        """Return the number of output positions of one row of an input."""
        op = self._operation
        return math.prod(x.shape[2:]) // max(1, math.prod(op.stride)) if op.dims else 1

    def _plan(self, tokens: int, dtype: torch.dtype, adapters: list[Adapter]) -> _ForwardPlan:
        """Choose the cheaper way for each adapter, given the number of output positions."""
        frozen_weight = self.frozen_parameters()[0]
        plan = _ForwardPlan([], [])
        wide = dtype == self.weight.dtype and dtype in (torch.float32, torch.float64)
        for adapter in adapters:
            with adapter.random_stream():
                structure = adapter.structure(frozen_weight, adapter.multiplier)
            if wide and not (adapter.training and adapter.dropout):
                apply_cost, merge_cost = structure.cost(self._operation, tokens)
                if merge_cost < apply_cost:
                    plan.merged.append((adapter, structure))
                    continue
            plan.applied.append((adapter, structure))
        return plan

    def _frozen_output(self, x: Tensor) -> Tensor:
        """Return the layer's own output, as a tensor that may be written to."""
        y = super().forward(x)
        return y if type(self).__bases__[1] in MATRIX_LAYERS else y.clone()  # another library may save it for backward

    def _forward_planned(self, x: Tensor, plan: _ForwardPlan) -> Tensor:
        """Return the layer's output with the planned updates."""
        op, frozen_weight = self._operation, self.frozen_parameters()[0]
        y = self._forward_merged(x, plan.merged) if plan.merged else self._frozen_output(x)
        base_output = None
        if any(structure.uses_base_output for _, structure in plan.applied):
            base_output = op(x, frozen_weight.to(x.dtype))
        for adapter, structure in plan.applied:
            if adapter.training and adapter.dropout:
                update = structure.apply(op, x.to(y.dtype), None, base_output)
                with adapter.random_stream():
                    y = y + adapter.dropout(update, op.dims)
            else:
                y = structure.apply(op, x, y, base_output)
            bias_delta = adapter.bias_delta()
            if bias_delta is not None:
                bias_delta = (bias_delta * adapter.multiplier).to(y.dtype)
                y = y + (bias_delta if op.dims == 0 else bias_delta.view(-1, *(1,) * op.dims))
        return y

    def _forward_merged(self, x: Tensor, merged: list[tuple[Adapter, Structure]]) -> Tensor:
        adapters, structures = [adapter for adapter, _ in merged], [structure for _, structure in merged]
        if not torch.is_grad_enabled() or self.weight.requires_grad or torch.compiler.is_compiling():
            return self._operation(x, *self.merged_parameters(adapters, structures))
        bias = self.merged_parameters(adapters, [])[1]
        return forward_merged(self._operation, x, self.weight, bias, structures)


class _AdaptedNorm(_AdaptedLayer):
    """A norm layer with adapters of its gain and shift."""

    def forward(self, x: Tensor) -> Tensor:
        adapters = self.active_adapters()
        if not adapters:
            return super().forward(x)
        if any(adapter.batch_partition is not None for adapter in adapters):
            segments = row_segments(adapters, x.shape[0])
            pieces = x.split([rows for rows, _ in segments])
            outputs = [self._forward_adapted(piece, own) for piece, (_, own) in zip(pieces, segments, strict=True)]
            return torch.cat(outputs)
        return self._forward_adapted(x, adapters)

    def _forward_adapted(self, x: Tensor, adapters: list[Adapter]) -> Tensor:
        structures = [adapter.structure(self.weight, adapter.multiplier) for adapter in adapters]
        weight, bias = self.merged_parameters(adapters, structures)
        if isinstance(self, nn.GroupNorm):
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)
        if isinstance(self, nn.LayerNorm):
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        assert isinstance(self, nn.RMSNorm)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


@functools.cache
def _adapted_type(layer_type: Any) -> type[nn.Module]:
    mixin = _AdaptedNorm if issubclass(layer_type, NORM_LAYERS) else _AdaptedMatrix
    name = f"Adapted{layer_type.__name__}"
    adapted = type(name, (mixin, layer_type), {"__module__": __name__, "__qualname__": name})
    if layer_type in MATRIX_LAYERS + NORM_LAYERS:
        globals()[name] = adapted  # so that pickle finds it
    return adapted


for _layer_type in MATRIX_LAYERS + NORM_LAYERS:
    _adapted_type(_layer_type)


def inject(layer: nn.Module, name: str, adapter: Adapter, *, registered: bool = True) -> None:
    """Add an adapter to a layer, under a name that no other adapter of it has.

    One that is not `registered` is no part of the model's `parameters()`, `to` and `state_dict`. A layer has only one
    kind: anything else is an InputError.
    """
    if not isinstance(layer, _AdaptedLayer):
        layer_type: Any = type(layer)
        layer.__class__ = _adapted_type(layer_type)
        adapted = as_adapted(layer)
        adapted.adapters = cast("MutableMapping[str, Adapter]", nn.ModuleDict() if registered else {})
        if isinstance(adapted, _AdaptedMatrix):
            adapted._operation = Operation.from_layer(layer)
    if isinstance(as_adapted(layer).adapters, nn.ModuleDict) is not registered:
        raise InputError(
            f"A layer of class `{plain_type(layer).__name__}` has adapters of `lycoris.attach` or of `create_lycoris`; "
            "the other cannot be added. Detach or `restore()` the first."
        )
    as_adapted(layer).adapters[name] = adapter
    adapter.train(layer.training)


def plain_type(layer: nn.Module) -> type[nn.Module]:
    """Return a layer's own type, without adapters."""
    return type(layer).__bases__[1] if isinstance(layer, _AdaptedLayer) else type(layer)


def as_adapted(layer: nn.Module) -> _AdaptedLayer:
    """Return a layer that has adapters, with its type."""
    assert isinstance(layer, _AdaptedLayer)
    return layer


def eject(layer: nn.Module, name: str) -> None:
    """Remove an adapter from a layer. With the last one, the layer gets its own class back."""
    adapted = as_adapted(layer)
    if name in adapted.__dict__.get("_merged", ()):
        adapted.unmerge(name)
    del adapted.adapters[name]
    if not adapted.adapters:
        del adapted.adapters
        layer.__dict__.pop("_operation", None)
        layer.__class__ = plain_type(layer)
