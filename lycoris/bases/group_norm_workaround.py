"""A workaround for a crash in PyTorch's group norm.

On a CPU, the backward pass of `group_norm` on a channels-last input writes the input's gradient even if none is
required, through a null pointer. It happens if a gain or shift is trained and nothing before it is. Observed in
PyTorch 2.13. The workaround requires the gradient and discards it, at the cost of one group norm's backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def guard_group_norms(module: nn.Module) -> None:
    """Make it safe to train the group norms of a channels-last module on a CPU."""
    for layer in module.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_pre_hook(_require_input_gradient)


def _require_input_gradient(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
    (x,) = inputs
    if x.requires_grad or x.device.type != "cpu" or not torch.is_grad_enabled():
        return None
    if not any(parameter.requires_grad for parameter in layer.parameters()):
        return None
    return (x.detach().requires_grad_(),)
