"""Tensors of one layer in the forms that tools write, turned into the form of an algorithm of this library."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY
from lycoris.adapters.layers.adapted_layer import NORM_LAYERS
from lycoris.errors import InputError

_SPARSE = ("bias_indices", "bias_values", "bias_size")
"""A sparse update beside a LoRA, which LyCORIS's extraction writes: [dims, n] places, [n] values and the shape."""


def normalize_tensors(tensors: Mapping[str, Tensor], module: nn.Module, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return a layer's tensors in the form of an algorithm.

    Args:
        tensors: LyCORIS's name → values.
        module: the layer.
        shape: of its weight.

    Raises:
        InputError: alpha is not one number, or a sparse update does not fit the layer.
    """
    tensors = dict(tensors)
    if "alpha" in tensors and tensors["alpha"].numel() != 1:
        raise InputError(f"`alpha` must be one number, but its shape is {list(tensors['alpha'].shape)}.")
    if isinstance(module, NORM_LAYERS):
        return _normalize_norm(tensors, module)
    magnitude = tensors.get(DORA_SCALE_KEY)
    if magnitude is not None and magnitude.dim() == 1:
        tensors[DORA_SCALE_KEY] = magnitude.reshape(-1, *(1,) * (len(shape) - 1))
    if "lora_bias" in tensors:
        tensors["diff_b"] = _scaled_bias(tensors)
        del tensors["lora_bias"]
    if set(tensors) == {"diff_b"}:
        tensors["diff"] = torch.zeros(shape, dtype=tensors["diff_b"].dtype)
    if any(name in tensors for name in _SPARSE):
        return _add_sparse(tensors, shape)
    return tensors


def _normalize_norm(tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    names = {"diff": "w_norm", "diff_b": "b_norm"}
    tensors = {names.get(name, name): values for name, values in tensors.items()}
    has_bias = getattr(module, "bias", None) is not None
    for name in ("w_norm", *(["b_norm"] if has_bias else [])):
        if name not in tensors and set(tensors) <= {"w_norm", "b_norm"}:
            tensors[name] = torch.zeros_like(next(iter(tensors.values())))
    return tensors


def _scaled_bias(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the change of the bias: that of PEFT's `lora_B` layer, times the scale."""
    bias, down = tensors["lora_bias"], tensors.get("lora_down.weight")
    if "diff_b" in tensors:
        raise InputError("`lora_B.bias` and `diff_b` change the bias of one layer twice.")
    if down is None or not down.dim() or "alpha" not in tensors:
        return bias
    return bias * (float(tensors["alpha"]) / max(down.shape[0], 1))


def _add_sparse(tensors: dict[str, Tensor], shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the dense update of a LoRA and a sparse update, with what else the layer has."""
    missing = [name for name in (*_SPARSE, "lora_up.weight", "lora_down.weight") if name not in tensors]
    if missing:
        raise InputError(f"a sparse update needs the keys {missing}.")
    indices, values, size = (tensors.pop(name) for name in _SPARSE)
    up, down = tensors.pop("lora_up.weight").double(), tensors.pop("lora_down.weight").double()
    alpha = float(tensors.pop("alpha", torch.tensor(float(down.shape[0] if down.dim() else 1))))
    try:
        sparse = torch.sparse_coo_tensor(indices.long(), values.double(), size.tolist(), check_invariants=True)
        dense = (up.flatten(1) @ down.flatten(1)).reshape(shape) * (alpha / down.shape[0])
        tensors["diff"] = dense + sparse.to_dense().reshape(shape)
    except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"a sparse update does not fit the weight {list(shape)}: {error}.") from None
    return tensors
