"""Layers that other libraries have hooked: accelerate's offloading, diffusers' casting and group offloading.

Such a hook sets `layer.forward` to a function of its own, which brings the weight where it is needed, calls the layer's
former forward, and takes the weight away again. The former forward is a bound method that the hook keeps in a closure,
a partial or an attribute. Replaced in that place, it runs within the hooks, whichever came first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

from torch import Tensor, nn

from lycoris.errors import InputError

T = TypeVar("T")


def forward_slots(layer: nn.Module, name: str) -> list[Callable[[Callable], None]]:
    """Find where the hooks of a layer keep its own forward.

    Args:
        layer: the layer.
        name: of the layer, for messages.

    Returns:
        Functions that put another forward there; none where the layer is not hooked.

    Raises:
        InputError: the layer's forward was replaced by one that does not call the layer's own.
    """
    if "forward" not in vars(layer):
        return []
    slots: list[Callable[[Callable], None]]
    slots = [functools.partial(vars(layer).__setitem__, key) for key in vars(layer) if _is_own(vars(layer)[key], layer)]
    slots += _slots_in(vars(layer)["forward"], layer, set())
    if not slots:
        raise InputError(
            f"Layer `{name}`: its forward was replaced by {_hook_name(layer)}, in which the layer's own is not found, "
            "so that an adapter would have no effect. Attach before that, or remove it."
        )
    return slots


def within_hooks(layer: nn.Module, name: str, function: Callable[[], T]) -> T:
    """Call a function where the layer's own forward runs: there the weight is as that forward reads it.

    Args:
        layer: the layer. Without hooks, the function is called as it is.
        name: of the layer, for messages.
        function: what to call.

    Raises:
        InputError: as for `forward_slots`, or a hook does not call the layer's forward.
    """
    slots = forward_slots(layer, name)
    if not slots:
        return function()
    calls: list[None] = []
    results: list[T] = []

    def call(*_: object) -> None:
        calls.append(None)
        results.append(function())

    own = MethodType(type(layer).forward, layer)
    for put in slots:
        put(call)
    failure: Exception | None = None
    try:
        hooked: Any = layer.forward
        hooked()
    except Exception as error:
        if calls:
            raise
        failure = error
    finally:
        for put in slots:
            put(own)
    if not calls:
        raise InputError(
            f"Layer `{name}`: {_hook_name(layer)} does not call the layer's forward, so that an adapter would have no "
            "effect. Attach before that, or remove it."
        ) from failure
    return results[0]


def _hook_name(layer: nn.Module) -> str:
    """Return the name of the function that replaced a layer's forward."""
    function = vars(layer)["forward"]
    while isinstance(function, functools.partial):
        function = function.func
    return f"`{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}`"


def _is_own(value: object, layer: nn.Module) -> bool:
    return isinstance(value, MethodType) and value.__self__ is layer and value.__name__ == "forward"


def _slots_in(node: object, layer: nn.Module, visited: set[int]) -> Iterator[Callable[[Callable], None]]:
    """Yield the slots in a chain of functions, partials, bound methods and plain objects that refer to each other."""
    if id(node) in visited or isinstance(node, (nn.Module, Tensor, type, ModuleType)):
        return
    visited.add(id(node))
    references: list[object] = []
    if isinstance(node, CellType):
        references = [_cell_contents(node)]
        if _is_own(references[0], layer):
            yield functools.partial(setattr, node, "cell_contents")
    elif isinstance(node, dict):
        references = list(node.values())
        for key in [key for key, value in node.items() if _is_own(value, layer)]:
            yield functools.partial(node.__setitem__, key)
    elif isinstance(node, functools.partial):
        references = [node.func, *node.args, node.keywords, vars(node)]
    elif isinstance(node, MethodType):
        references = [node.__self__, node.__func__]
    elif isinstance(node, FunctionType):
        references = [*(node.__closure__ or ()), vars(node)]
    elif hasattr(node, "__dict__"):
        references = [vars(node)]
    for reference in references:
        yield from _slots_in(reference, layer, visited)


def _cell_contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was assigned yet
        return None
