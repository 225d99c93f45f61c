"""Layers that carry adapters: the layer itself under a subclass of its type, so that names, keys and hooks stay.

`install` gives a layer the class `Adapted<Type>` and the module dict `adapters`; `remove` takes both away. The base
parameter is never replaced; merging swaps its values and keeps the originals as a buffer that is in no state dict.
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

from lycoris.adapters.algorithms.adapter import Adapter, is_unquantized
from lycoris.adapters.layers.grouped_forward import add_grouped_updates, row_segments
from lycoris.adapters.layers.merged_forward import forward_merged
from lycoris.adapters.structures.structures import Operation, Structure
from lycoris.errors import InputError

MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM_LAYERS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class _AdaptedLayer(nn.Module):
    """What every adapted layer has beyond its own type: adapters, and originals where some are merged."""

    weight: Tensor
    adapters: MutableMapping[str, Adapter]  # an `nn.ModuleDict`, which says less of what it holds
    original_weight: Tensor
    original_bias: Tensor | None
    _merged: set[str]

    def frozen_parameters(self) -> tuple[Tensor, Tensor | None]:
        """The frozen weight and bias, whatever is merged."""
        weight = getattr(self, "original_weight", None)
        bias = getattr(self, "original_bias", None)
        return self.weight if weight is None else weight, getattr(self, "bias", None) if bias is None else bias

    def active_adapters(self) -> list[Adapter]:
        """The adapters that act on this call."""
        merged = self.__dict__.get("_merged", ())
        found = []
        for name, adapter in self.adapters.items():
            if (
                adapter.multiplier == 0
                or name in merged
                or (adapter.batch_partition is not None and adapter.batch_partition.is_empty)
            ):
                continue
            dropout = adapter.dropout
            if dropout.modules and adapter.training:
                with adapter.random_stream():
                    if torch.rand(()).item() < dropout.modules:
                        continue
            found.append(adapter)
        return found

    def merge(self, name: str) -> None:
        """Fold one adapter into the weight, together with those that are already folded in."""
        if not is_unquantized(self.weight):
            raise InputError(f"A weight of dtype {self.weight.dtype} cannot be merged into; keep the adapter live.")
        if not self.__dict__.get("_merged"):
            self.register_buffer("original_weight", self.weight.detach().clone(), persistent=False)
            bias = getattr(self, "bias", None)
            self.register_buffer("original_bias", None if bias is None else bias.detach().clone(), persistent=False)
        self._merged = {*self.__dict__.get("_merged", ()), name}
        self._rewrite_weight()

    def unmerge(self, name: str) -> None:
        """Take one adapter out of the weight; with the last, the original bits are back."""
        self._merged = self.__dict__.get("_merged", set()) - {name}
        self._rewrite_weight()
        if not self._merged:
            del self._merged, self.original_weight, self.original_bias

    @torch.no_grad()
    def _rewrite_weight(self) -> None:
        weight, bias = self.frozen_parameters()
        chosen = [self.adapters[name] for name in self.adapters if name in self._merged]
        wide = torch.float32 if weight.device.type == "mps" else torch.float64
        total, shift = weight.to(wide, copy=True), None if bias is None else bias.to(wide, copy=True)
        for adapter in chosen:
            training = adapter.training
            adapter.eval()  # the whole change, not what a training step draws of it
            total += adapter.structure(weight, adapter.multiplier).dense().to(wide)
            change = adapter.bias()
            if change is not None:
                assert shift is not None  # a change of the bias is of one that there is
                shift += change.to(wide) * adapter.multiplier
            adapter.train(training)
        self.weight.copy_(total if chosen else weight)
        if bias is not None and shift is not None:
            live = cast("Tensor", self.bias)
            live.copy_(shift if chosen else bias)

    def merged_parameters(self, adapters: list[Adapter], structures: list[Structure]) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with these changes added."""
        weight, bias = self.weight, cast("Tensor | None", getattr(self, "bias", None))
        for structure in structures:
            weight = structure.add_to(weight)
        for adapter in adapters:
            bias = _add_bias_delta(bias, adapter)
        return weight, bias


@dataclass(slots=True)
class _ForwardPlan:
    """How some adapters of a layer act on some rows."""

    merged: list[tuple[Adapter, Structure]]
    applied: list[tuple[Adapter, Structure]]

    @property
    def is_addition(self) -> bool:
        """Whether nothing happens but that one change is added to the frozen output."""
        if self.merged or len(self.applied) != 1:
            return False
        adapter, structure = self.applied[0]
        return not (structure.uses_base_output or (adapter.training and adapter.dropout)) and adapter.bias() is None


class _AdaptedMatrix(_AdaptedLayer):
    """A Linear or convolution with adapters: y = op(x, W + Σ ΔW), each change applied in the cheaper way."""

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
        """Each network's adapter on its own rows; those that only add to the output share the frozen operation."""
        groups: list[tuple[bool, list[int], list[_ForwardPlan]]] = []
        for rows, own in row_segments(adapters, x.shape[0]):
            plan = self._plan(rows * self._output_positions(x), x.dtype, own)
            if not (plan.is_addition and groups and groups[-1][0]):
                groups.append((plan.is_addition, [], []))
            groups[-1][1].append(rows)
            groups[-1][2].append(plan)
        outputs = []
        for (adds, counts, plans), piece in zip(groups, x.split([sum(rows) for _, rows, _ in groups]), strict=True):
            if adds:
                structures = [plan.applied[0][1] for plan in plans]
                outputs.append(
                    add_grouped_updates(self._operation, piece, self._frozen_output(piece), structures, counts)
                )
            else:
                outputs.append(self._forward_planned(piece, plans[0]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _output_positions(self, x: Tensor) -> int:
        """Output positions of one row of an input."""
        op = self._operation
        return math.prod(x.shape[2:]) // max(1, math.prod(op.stride)) if op.dims else 1

    def _plan(self, tokens: int, dtype: torch.dtype, adapters: list[Adapter]) -> _ForwardPlan:
        """Which changes are applied and which built, the cheaper for so many output positions."""
        original = self.frozen_parameters()[0]
        plan = _ForwardPlan([], [])
        wide = dtype == self.weight.dtype and dtype in (torch.float32, torch.float64)
        for adapter in adapters:
            with adapter.random_stream():
                structure = adapter.structure(original, adapter.multiplier)
            if wide and not (adapter.training and adapter.dropout):
                apply, build = structure.cost(self._operation, tokens)
                if build < apply:
                    plan.merged.append((adapter, structure))
                    continue
            plan.applied.append((adapter, structure))
        return plan

    def _frozen_output(self, x: Tensor) -> Tensor:
        """The layer's own output, which may be written to."""
        y = super().forward(x)
        return (
            y if type(self).__bases__[1] in MATRIX_LAYERS else y.clone()
        )  # another library's may be kept for its backward

    def _forward_planned(self, x: Tensor, plan: _ForwardPlan) -> Tensor:
        """The layer's output with the planned changes."""
        op, original = self._operation, self.frozen_parameters()[0]
        if plan.merged:
            y = self._forward_merged(
                x, [adapter for adapter, _ in plan.merged], [structure for _, structure in plan.merged]
            )
        else:
            y = self._frozen_output(x)
        base = None
        if any(structure.uses_base_output for _, structure in plan.applied):
            base = op(x, original.to(x.dtype))
        for adapter, structure in plan.applied:
            if adapter.training and adapter.dropout:
                change = structure.apply(op, x.to(y.dtype), None, base)
                with adapter.random_stream():
                    y = y + adapter.dropout(change, op.dims)
            else:
                y = structure.apply(op, x, y, base)
            shift = adapter.bias()
            if shift is not None:
                shift = (shift * adapter.multiplier).to(y.dtype)
                y = y + (shift if op.dims == 0 else shift.view(-1, *(1,) * op.dims))
        return y

    def _forward_merged(self, x: Tensor, adapters: list[Adapter], structures: list[Structure]) -> Tensor:
        if not torch.is_grad_enabled() or self.weight.requires_grad or torch.compiler.is_compiling():
            return self._operation(x, *self.merged_parameters(adapters, structures))
        bias = self.merged_parameters(adapters, [])[1]
        return forward_merged(self._operation, x, self.weight, bias, structures)


class _AdaptedNorm(_AdaptedLayer):
    """A norm layer whose gain and shift are changed."""

    def forward(self, x: Tensor) -> Tensor:
        adapters = self.active_adapters()
        if not adapters:
            return super().forward(x)
        if any(adapter.batch_partition is not None for adapter in adapters):
            cut = row_segments(adapters, x.shape[0])
            pieces = x.split([rows for rows, _ in cut])
            return torch.cat([self._forward_adapted(piece, own) for piece, (_, own) in zip(pieces, cut, strict=True)])
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
def _adapted_type(kind: Any) -> type[nn.Module]:
    mixin = _AdaptedNorm if issubclass(kind, NORM_LAYERS) else _AdaptedMatrix
    name = f"Adapted{kind.__name__}"
    made = type(name, (mixin, kind), {"__module__": __name__, "__qualname__": name})
    if kind in MATRIX_LAYERS + NORM_LAYERS:
        globals()[name] = made  # so that pickle finds it
    return made


for _kind in MATRIX_LAYERS + NORM_LAYERS:
    _adapted_type(_kind)


def inject(layer: nn.Module, name: str, adapter: Adapter) -> None:
    """Add an adapter to a layer, under a name that no other adapter of it has."""
    if not isinstance(layer, _AdaptedLayer):
        kind: Any = type(layer)
        layer.__class__ = _adapted_type(kind)
        fresh = as_adapted(layer)
        fresh.adapters = cast("MutableMapping[str, Adapter]", nn.ModuleDict())
        if isinstance(fresh, _AdaptedMatrix):
            fresh._operation = Operation.from_layer(layer)
    as_adapted(layer).adapters[name] = adapter
    adapter.train(layer.training)


def as_adapted(layer: nn.Module) -> _AdaptedLayer:
    """A layer that has adapters, as what it is."""
    assert isinstance(layer, _AdaptedLayer)
    return layer


def eject(layer: nn.Module, name: str) -> None:
    """Take an adapter off; with the last one the layer has its own class and nothing of ours."""
    own = as_adapted(layer)
    if name in own.__dict__.get("_merged", ()):
        own.unmerge(name)
    del own.adapters[name]
    if not own.adapters:
        del own.adapters
        layer.__dict__.pop("_operation", None)
        layer.__class__ = type(layer).__bases__[1]


def _add_bias_delta(bias: Tensor | None, adapter: Adapter) -> Tensor | None:
    change = adapter.bias()
    if change is None:
        return bias
    change = change if adapter.multiplier == 1 else change * adapter.multiplier
    return change if bias is None else bias + change.to(bias.dtype)
