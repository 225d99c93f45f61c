"""Which modules of a base are on its device: all of them, or only those that work."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

PARKED = torch.device("cpu")
"""Where a module is that does not work."""


class Residency:
    """Moves modules to the device when they are to work, and the others away; what is there stays until then.

    A module with trained parameters stays with those at work, since a backward pass goes through both.

    Args:
        modules: modules by name.
        device: where they work.
        offload: whether to move any; otherwise all are on the device.
    """

    def __init__(self, modules: Mapping[str, nn.Module], device: torch.device, *, offload: bool) -> None:
        self._modules, self._device, self._offload = modules, device, offload and device != PARKED
        self._present: set[str] = set()

    def bring(self, names: Collection[str]) -> None:
        """Have some modules on the device, and the others off it."""
        if not self._offload:
            return
        wanted = {name for name, module in self._modules.items() if name in names or _is_trained(module)}
        if not set(names) - self._present and wanted <= self._present:
            return
        for name in self._present - wanted:
            self._modules[name].to(PARKED)
        for name in wanted - self._present:
            self._modules[name].to(self._device)
        self._present = wanted

    def park(self) -> None:
        """Move all modules off the device."""
        if self._offload:
            for name in self._present:
                self._modules[name].to(PARKED)
            self._present = set()


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
