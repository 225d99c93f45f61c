"""What autocast on a GPU computes in float32, on tensors of the CPU: its lists differ from a CPU's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

IN_FLOAT32 = frozenset(
    {"layer_norm", "group_norm", "rms_norm", "softmax", "log_softmax", "pow", "__pow__", "rsqrt", "reciprocal", "exp"}
    | {"log", "cumsum", "cumprod", "prod", "sum", "norm", "interpolate", "mse_loss", "smooth_l1_loss", "huber_loss"}
)
"""Functions that CUDA's autocast computes in float32, of those that the models use (PyTorch, autocast_mode.h)."""


class GpuAutocast(TorchFunctionMode):
    """Inside it, autocast on the CPU widens to float32 what autocast on CUDA does, so that as many bytes are kept.

    Args:
        is_active: whether it does anything.
    """

    def __init__(self, is_active: bool) -> None:
        super().__init__()
        self._is_active = is_active

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_active and getattr(func, "__name__", "") in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_widen, (args, kwargs))
        return func(*args, **kwargs)


def _widen(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value
