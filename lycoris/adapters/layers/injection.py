"""Injection: a layer gets the class `Adapted<Type>` and the module dict `adapters`; ejection takes both away."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from types import MethodType
from typing import Any, TypeVar, cast

from torch import nn

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.layers.adapted_layer import AdaptedLayer, AdaptedMatrix, adapted_type, own_type
from lycoris.adapters.layers.hooks import forward_slots, within_hooks
from lycoris.adapters.layers.weight_writing import unmerge
from lycoris.adapters.structures import Operation
from lycoris.errors import InputError

T = TypeVar("T")


def with_weight(layer: nn.Module, name: str, function: Callable[[], T]) -> T:
    """Call a function where a layer's weight is as the layer's forward reads it.

    Args:
        layer: the layer, with adapters or without.
        name: of the layer, for messages.
        function: what to call.

    Raises:
        InputError: the layer cannot have an adapter: its weight is distributed, or its forward was replaced.
    """
    if hasattr(getattr(layer, "weight", None), "device_mesh"):
        raise InputError(
            f"Layer `{name}` has a distributed weight: an adapter that comes after `fully_shard` would learn something "
            "else in each process. Attach or load first, then call `fully_shard`."
        )
    return within_hooks(layer, name, function)


def inject(layer: nn.Module, layer_name: str, name: str, adapter: Adapter, *, registered: bool = True) -> None:
    """Add an adapter to a layer.

    Args:
        layer: the layer.
        layer_name: part and path, for messages.
        name: of the adapter, which no other adapter of the layer has.
        adapter: the adapter.
        registered: whether the model's `parameters()`, `to` and `state_dict` have it; a layer has only one kind.

    Raises:
        InputError: as for `with_weight`, or the layer has adapters of the other kind; nothing is changed.
    """
    if not isinstance(layer, AdaptedLayer):
        with_weight(layer, layer_name, lambda: None)
        layer_type: Any = type(layer)
        _set_type(layer, layer_name, adapted_type(layer_type))
        adapted = as_adapted(layer)
        adapted.adapters = cast("MutableMapping[str, Adapter]", nn.ModuleDict() if registered else {})
        adapted._name = layer_name
        if isinstance(adapted, AdaptedMatrix):
            adapted._operation = Operation.from_layer(layer)
    if isinstance(as_adapted(layer).adapters, nn.ModuleDict) is not registered:
        raise InputError(
            f"Layer `{layer_name}` has adapters of `lycoris.attach` or of `create_lycoris`; the other cannot be added. "
            "Detach or `restore()` the first."
        )
    as_adapted(layer).adapters[name] = adapter
    adapter.train(layer.training)


def as_adapted(layer: nn.Module) -> AdaptedLayer:
    """Return a layer that has adapters, with its type."""
    assert isinstance(layer, AdaptedLayer)
    return layer


def check_removable(layer: nn.Module) -> None:
    """Check that a layer can get its own class back.

    Raises:
        InputError: another library replaced the layer's class or forward after the adapter was attached.
    """
    adapted = as_adapted(layer)
    layer_type: Any = own_type(type(adapted))
    if type(adapted) is not adapted_type(layer_type):
        raise InputError(
            f"Layer `{adapted._name}` got the class `{type(adapted).__name__}` after the adapter, as `fully_shard` "
            "does, so that the adapter cannot be taken out."
        )
    forward_slots(layer, adapted._name)


def eject(layer: nn.Module, name: str) -> None:
    """Remove an adapter from a layer that `check_removable`. With the last one, the layer gets its own class back."""
    adapted = as_adapted(layer)
    if name in adapted.__dict__.get("_merged", ()):
        unmerge(adapted, name)
    del adapted.adapters[name]
    if not adapted.adapters:
        _set_type(layer, adapted._name, own_type(type(adapted)))
        del adapted.adapters
        for attribute in ("_operation", "_name", "_merged"):
            layer.__dict__.pop(attribute, None)


def _set_type(layer: nn.Module, name: str, layer_type: type[nn.Module]) -> None:
    """Give a layer another class, whose forward its hooks then call."""
    slots = forward_slots(layer, name)
    layer.__class__ = layer_type
    for put in slots:
        put(MethodType(layer_type.forward, layer))
