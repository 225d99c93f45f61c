"""Count the bytes that live tensors hold and the FLOPs of operations, on real tensors or on fake ones.

It imports torch alone, so that `benchmarks/peers/measure.py` can load it in the environment of another library.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

aten = torch.ops.aten


class Meter(TorchDispatchMode):
    """Follows the tensors that are created inside it.

    On fake tensors, whose values are not known, a question for a truth, such as whether all values are finite, is
    answered with yes. What depends on small masks and positions goes on as with values, if these come from constants.

    Attributes:
        live: bytes of the tensors that exist now.
        peak: the most bytes at one time since the start or `reset_peak`.
        flops: FLOPs of matrix products, convolutions and attention, a multiplication and an addition as two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.flops = 0
        self._storages: Any = WeakIdKeyDictionary()

    def reset_peak(self) -> None:
        """Begin a new peak at what exists now."""
        self.peak = self.live

    @contextmanager
    def count_flops(self) -> Iterator[list[int]]:
        """Yield a list that holds the FLOPs of the block after it."""
        before, counted = self.flops, [0]
        yield counted
        counted[0] = self.flops - before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default and _is_unknown_truth(args[0]):
            return True
        if func is aten.index.Tensor:
            args = (args[0], [each for index in args[1] for each in _as_positions(index)])
        result = func(*args, **kwargs)
        if func in CONSTANTS:
            _keep_value(func, result, args, kwargs)
        formula = FLOPS.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=result))
        inputs: set[int] | None = None
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor) or tensor.untyped_storage() in self._storages:
                continue
            if inputs is None:
                given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
                inputs = {each.untyped_storage()._cdata for each in given}
            storage = tensor.untyped_storage()
            if storage._cdata not in inputs:
                self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        size = storage.nbytes()
        self._storages[storage] = None
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.live -= size


def _is_unknown_truth(value: Any) -> bool:
    return value.dtype == torch.bool and hasattr(value, "fake_mode") and value.constant is None


def _as_positions(index: Any) -> list[Any]:
    """The positions, by dimension, that a boolean index of known values selects; another index as it is."""
    constant = getattr(index, "constant", None)
    if constant is None or constant.dtype != torch.bool:
        return [index]
    with unset_fake_temporarily():
        positions = constant.nonzero().T.tolist()
    return [torch.tensor(each, device=index.device) for each in positions]


def _keep_value(func: Any, result: Any, args: Any, kwargs: Any) -> None:
    """Let a small fake tensor that is made without others know its values."""
    if not hasattr(result, "fake_mode") or result.numel() > MAX_KNOWN:
        return
    with unset_fake_temporarily():
        value = CONSTANTS[func]
        if value is None:
            result.constant = func(*args, **{**kwargs, "device": "cpu"})
        else:
            result.constant = torch.full(result.shape, value, dtype=result.dtype)


def _matmul_flops(into: Any, left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    return 2 * math.prod(left.shape) * right.shape[-1]


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward_flops(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


MAX_KNOWN = 2**16
"""Elements up to which the values of a fake tensor are kept."""
CONSTANTS: dict[Any, int | None] = {
    aten.ones.default: 1,
    aten.zeros.default: 0,
    aten.ones_like.default: 1,
    aten.zeros_like.default: 0,
    aten.new_ones.default: 1,
    aten.new_zeros.default: 0,
    aten.arange.default: None,
    aten.linspace.default: None,
    aten.full.default: None,
    aten.arange.start: None,
    aten.arange.start_step: None,
}
"""Operations that fill a tensor -> the value, or None for an operation that is run itself."""
FLOPS: dict[Any, Callable[..., int]] = {
    **flop_counter.flop_registry,
    aten.addmm_: _matmul_flops,
    aten.baddbmm_: _matmul_flops,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
"""Operation -> its FLOPs: PyTorch's formulas, and those it lacks, of in-place products and of a CPU's attention."""
