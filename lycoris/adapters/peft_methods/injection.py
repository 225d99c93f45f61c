"""PEFT's layers in a model: put in, taken out with the base's layers as they were, and put back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lycoris.adapters.algorithms import Adapter
from lycoris.errors import InputError

ADAPTER_NAME = "default"
_MARK = "_is_lycoris_method"


@dataclass(frozen=True)
class InjectedLayer:
    """A layer of PEFT in the place of one of the base.

    Attributes:
        parent: the module that holds it.
        name: its name there.
        layer: PEFT's layer, which holds the base's.
    """

    parent: nn.Module
    name: str
    layer: nn.Module

    @property
    def base_layer(self) -> nn.Module:
        """The layer of the base."""
        base: Any = self.layer.base_layer
        return base

    def own_modules(self) -> Iterator[nn.Module]:
        """Yield PEFT's layer and the modules in it that are not the base's."""
        frozen = {id(module) for module in self.base_layer.modules()}
        yield from (module for module in self.layer.modules() if id(module) not in frozen)


class InjectedPart:
    """One part of a model with PEFT's layers.

    Args:
        part: the module.
        config: PEFT's configuration, with the paths of the layers in `target_modules`.

    Attributes:
        peft_model: PEFT's model around the part.
        layers: the layers that were replaced.

    Raises:
        InputError: the part has a method of PEFT, or PEFT refuses a layer or a value; the part is then as before.
    """

    def __init__(self, part: nn.Module, config: Any) -> None:
        import peft

        self.part = part
        if any(getattr(module, _MARK, False) for module in part.modules()):
            raise InputError("the part has a method of PEFT already, whose values PEFT would save with the new ones.")
        paths = list(config.target_modules)
        config.target_modules = _exact_targets(part, paths)
        before = {id(module) for module in part.modules()}
        try:
            self.peft_model = peft.get_peft_model(part, config, ADAPTER_NAME)
            self.layers = _injected_layers(part, before)
            if len(self.layers) != len(paths):
                raise InputError(f"PEFT adapted {len(self.layers)} layers instead of {len(paths)}.")
            for each in self.layers:
                setattr(each.layer, _MARK, True)
            self._channels_last = [weight for each in self.layers for weight in _channels_last_weights(each.base_layer)]
            self._order_weights(torch.contiguous_format)
        except Exception as error:
            for each in _injected_layers(part, before):
                setattr(each.parent, each.name, each.base_layer)
            _forget_config(part)
            if isinstance(error, ValueError | TypeError | RuntimeError | KeyError | NotImplementedError):
                raise InputError(f"PEFT: {error}") from error
            raise

    def take_out(self) -> None:
        """Put the base's layers back in their places."""
        for each in self.layers:
            setattr(each.parent, each.name, each.base_layer)
        self._order_weights(torch.channels_last)
        _forget_config(self.part)

    def put_back(self) -> None:
        """Put PEFT's layers in their places again."""
        for each in self.layers:
            setattr(each.parent, each.name, each.layer)
        self._order_weights(torch.contiguous_format)

    def _order_weights(self, order: torch.memory_format) -> None:
        """Set the order in memory of weights that the base has in channels-last order, which PEFT cannot reshape."""
        for weight in self._channels_last:
            weight.data = weight.data.contiguous(memory_format=order)


def adapter_parameters(part: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the adapters that are attached to a part: ours, and those of methods of PEFT.

    Adapters that PEFT or diffusers loaded themselves are not among them.
    """
    own: list[nn.Module] = [module for module in part.modules() if isinstance(module, Adapter)]
    own += [
        child
        for module in part.modules()
        if getattr(module, _MARK, False)
        for name, child in module.named_children()
        if name != "base_layer"
    ]
    return [parameter for module in own for parameter in module.parameters()]


def _channels_last_weights(layer: nn.Module) -> list[nn.Parameter]:
    return [
        weight
        for weight in layer.parameters(recurse=False)
        if weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
    ]


def _injected_layers(part: nn.Module, before: set[int]) -> list[InjectedLayer]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    injected = []
    for path, module in part.named_modules():
        is_injected = isinstance(module, BaseTunerLayer) and id(module) not in before
        if is_injected and "base_layer" in dict(module.named_children()):
            parent, _, name = path.rpartition(".")
            injected.append(InjectedLayer(part.get_submodule(parent), name, module))
    return injected


def _exact_targets(part: nn.Module, paths: Sequence[str]) -> list[str] | str:
    """Return what PEFT matches with these paths alone: the paths, or a pattern where another path ends in one."""
    chosen, endings = set(paths), tuple(f".{path}" for path in paths)
    if any(name.endswith(endings) and name not in chosen for name, _ in part.named_modules()):
        return "|".join(re.escape(path) for path in paths)
    return list(paths)


def _forget_config(part: nn.Module) -> None:
    if "peft_config" in vars(part):
        del part.peft_config


@contextlib.contextmanager
def seeded(seed: int, parts: Sequence[nn.Module]) -> Iterator[None]:
    """Draw initial values from a seed, and leave the process's random state as it was."""
    devices = {parameter.device for part in parts for parameter in part.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        torch.manual_seed(seed)
        yield
