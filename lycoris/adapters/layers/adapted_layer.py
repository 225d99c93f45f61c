"""Layers that carry adapters: the layer itself under a subclass of its type, so that names, keys and hooks stay."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.algorithms.target_layer import is_unquantized
from lycoris.adapters.layers.grouped_forward import add_grouped_updates, row_segments
from lycoris.adapters.layers.merged_forward import forward_merged
from lycoris.adapters.layers.merging import add_bias_delta
from lycoris.adapters.structures import Operation, Structure
from lycoris.errors import InputError

MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM_LAYERS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class AdaptedLayer(nn.Module):
    """What every adapted layer has beyond its own type: adapters, and the original values while some are merged."""

    weight: Tensor
    adapters: MutableMapping[str, Adapter]  # an `nn.ModuleDict`, which does not know the type of its values
    original_weight: Tensor
    original_bias: Tensor | None
    _merged: set[str]
    _name: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Create a layer without adapters, for libraries that build one of the same type as another."""
        return own_type(cls)(*args, **kwargs) if args or kwargs else super().__new__(cls)

    def frozen_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return the frozen weight and bias, without what is merged."""
        weight = getattr(self, "original_weight", None)
        bias = getattr(self, "original_bias", None)
        return self.weight if weight is None else weight, getattr(self, "bias", None) if bias is None else bias

    def active_adapters(self, device: torch.device) -> list[Adapter]:
        """Return the adapters that act on this call, moved to a device; in training, module dropout leaves some out."""
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
            adapter.follow(device, self._name)
            active.append(adapter)
        return active

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the layer's own modules: whoever walks a model to hook or replace its layers meets the same ones."""
        return ((name, child) for name, child in super().named_children() if name != "adapters")

    def children(self) -> Iterator[nn.Module]:
        """Yield all modules, adapters too: they follow the layer to a device, into training and between processes."""
        return (child for _, child in super().named_children())

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the state without the adapters that the weight holds already."""
        prefix = kwargs.get("prefix", args[1] if len(args) > 1 else "")
        state = super().state_dict(*args, **kwargs)
        merged = tuple(f"{prefix}adapters.{name}." for name in self.__dict__.get("_merged", ()))
        for key in [key for key in state if key.startswith(merged)] if merged else ():
            del state[key]
        return state

    def structure_of(self, adapter: Adapter) -> Structure:
        """Return an adapter's change of the weight.

        Raises:
            InputError: the change depends on the weight, which was quantised since the adapter was attached.
        """
        weight = self.frozen_parameters()[0]
        if adapter.uses_base_weight and not is_unquantized(weight):
            raise InputError(
                f"Layer `{self._name}`: `{adapter.algorithm}` needs the weight itself, but it was quantised after the "
                f"adapter was attached: {type(weight).__name__}. Choose an algorithm that does not read the weight."
            )
        return adapter.structure(weight, adapter.multiplier)

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


class AdaptedMatrix(AdaptedLayer):
    """A Linear or convolution with adapters: y = op(x, W + Σ ΔW), each ΔW applied in the cheaper way."""

    _operation: Operation

    def forward(self, x: Tensor) -> Tensor:
        adapters = self.active_adapters(x.device)
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
        plan = _ForwardPlan([], [])
        wide = dtype == self.weight.dtype and dtype in (torch.float32, torch.float64) and is_unquantized(self.weight)
        for adapter in adapters:
            with adapter.random_stream():
                structure = self.structure_of(adapter)
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
        return y if self._is_own() else y.clone()  # another library may save it for backward, or return a view of it

    def _is_own(self) -> bool:
        """Tell whether the layer is one of PyTorch's, with weights that are not quantised."""
        return own_type(type(self)) in MATRIX_LAYERS and is_unquantized(self.weight)

    def _is_plain(self) -> bool:
        """Tell whether the layer's own output is the operation with the frozen weight, and the bias."""
        return self._is_own() and getattr(self, "original_weight", None) is None

    def _add_bias(self, output: Tensor) -> Tensor:
        """Return the layer's own output, as a tensor that may be written to, from that without its bias."""
        bias = cast("Tensor | None", self.bias)
        if bias is None:
            return output.clone()
        return output + bias.to(output.dtype).view(-1, *(1,) * self._operation.dims)

    def _forward_planned(self, x: Tensor, plan: _ForwardPlan) -> Tensor:
        """Return the layer's output with the planned updates."""
        op, frozen_weight = self._operation, self.frozen_parameters()[0]
        base_output = None
        if any(structure.uses_base_output for _, structure in plan.applied):
            base_output = op(x, frozen_weight.to(x.dtype))
        if base_output is not None and not plan.merged and self._is_plain():
            y = self._add_bias(base_output)
        else:
            y = self._forward_merged(x, plan.merged) if plan.merged else self._frozen_output(x)
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


class AdaptedNorm(AdaptedLayer):
    """A norm layer with adapters of its gain and shift."""

    def forward(self, x: Tensor) -> Tensor:
        adapters = self.active_adapters(x.device)
        if not adapters:
            return super().forward(x)
        if any(adapter.batch_partition is not None for adapter in adapters):
            segments = row_segments(adapters, x.shape[0])
            pieces = x.split([rows for rows, _ in segments])
            outputs = [self._forward_adapted(piece, own) for piece, (_, own) in zip(pieces, segments, strict=True)]
            return torch.cat(outputs)
        return self._forward_adapted(x, adapters)

    def _forward_adapted(self, x: Tensor, adapters: list[Adapter]) -> Tensor:
        structures = [self.structure_of(adapter) for adapter in adapters]
        weight, bias = self.merged_parameters(adapters, structures)
        if isinstance(self, nn.GroupNorm):
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)
        if isinstance(self, nn.LayerNorm):
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        assert isinstance(self, nn.RMSNorm)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


def own_type(adapted: type[AdaptedLayer]) -> type[nn.Module]:
    """Return the type that layers of an adapted type have without adapters."""
    return adapted.__mro__[adapted.__mro__.index(AdaptedLayer) + 1]


@functools.cache
def adapted_type(layer_type: Any) -> type[nn.Module]:
    """Return the type that a layer of a type has with adapters."""
    mixin = AdaptedNorm if issubclass(layer_type, NORM_LAYERS) else AdaptedMatrix
    name = f"Adapted{layer_type.__name__}"
    adapted = type(name, (mixin, layer_type), {"__module__": __name__, "__qualname__": name})
    if layer_type in MATRIX_LAYERS + NORM_LAYERS:
        globals()[name] = adapted  # so that pickle finds it
    return adapted


for _layer_type in MATRIX_LAYERS + NORM_LAYERS:
    adapted_type(_layer_type)
