"""T-LoRA's module and the mask of ranks that a trainer sets before a step."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.algorithms.tlora import TLoRA
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.drop_in.options import ModuleOptions
from lycoris.errors import InputError, unknown_name_error

SINGULAR_VECTORS = ("principal", "middle", "last")
_masks: dict[int, Tensor] = {}
_modules: weakref.WeakSet[TLoraModule] = weakref.WeakSet()


class TLoraModule(LycorisBaseModule):
    """T-LoRA, of which the ranks act that the mask of its group has."""

    algorithm = "t-lora"
    name = "tlora"

    def _set_up(self, lora_name: str, org_module: nn.Module, adapter: Adapter) -> None:
        super()._set_up(lora_name, org_module, adapter)
        _modules.add(self)

    def _create(self, lora_name: str, org_module: nn.Module, options: ModuleOptions) -> None:
        super()._create(lora_name, org_module, options)
        if options.sig_type not in SINGULAR_VECTORS:
            raise unknown_name_error("sig_type", options.sig_type, SINGULAR_VECTORS)
        if options.use_data_init or options.sig_type != "principal":
            self._start_from(options.sig_type, use_weight=options.use_data_init)

    @torch.no_grad()
    def _start_from(self, kind: str, *, use_weight: bool) -> None:
        """Let the factors be singular vectors and values, of the weight or of a random matrix."""
        adapter, weight = self.adapter, self.org_weight
        assert isinstance(adapter, TLoRA)
        matrix = weight.detach().float().flatten(1)
        if not use_weight:
            matrix = torch.normal(0.0, 1 / adapter.rank, matrix.shape, device=matrix.device)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        first = {"principal": 0, "middle": (len(values) - adapter.rank) // 2, "last": len(values) - adapter.rank}[kind]
        chosen = slice(max(first, 0), max(first, 0) + adapter.rank)
        for name, start in (("p", left[:, chosen]), ("values", values[chosen]), ("q", right[chosen])):
            for each in (getattr(adapter, name), getattr(adapter, f"base_{name}")):
                each.copy_(start.reshape(each.shape))

    @classmethod
    def from_lambda_tensors(cls, lora_name: str, layer: nn.Module, tensors: Mapping[str, Tensor]) -> TLoraModule:
        """Return the module of a file of `lycoris-lora`, which has λ but not what the factors started from.

        That is computed again, as `lycoris-lora` does: the first singular vectors of the layer's weight.

        Raises:
            InputError: tensors that do not fit, or a convolution with a kernel larger than 1: files have one tap of it.
        """
        q, p, values = (tensors.get(name) for name in ("q_layer.weight", "p_layer.weight", "lambda_layer"))
        weight: Any = layer.weight
        if q is None or p is None or values is None:
            raise InputError(f"Layer `{lora_name}` must have q_layer.weight, p_layer.weight and lambda_layer.")
        if weight[0].numel() != weight.shape[1]:
            raise InputError(
                f"Layer `{lora_name}` is a convolution of kernel {tuple(weight.shape[2:])}, of which T-LoRA files of "
                "`lycoris-lora` have one tap only: train it again with this library, or leave convolutions out."
            )
        rank = q.shape[0]
        if (p.shape[0], p[0].numel(), q[0].numel(), values.numel()) != (len(weight), rank, weight.shape[1], rank):
            raise InputError(
                f"Layer `{lora_name}` of shape {list(weight.shape)} does not fit q_layer {list(q.shape)}, p_layer "
                f"{list(p.shape)} and lambda_layer {list(values.shape)}."
            )
        alpha = tensors.get("alpha", torch.tensor(float(rank))).item()
        module = cls(lora_name, layer, 1.0, rank, alpha)
        adapter: Any = module.adapter
        with torch.no_grad():
            for own, given in ((adapter.q, q), (adapter.p, p), (adapter.values, values)):
                own.copy_(given.reshape(own.shape))
        return module

    def update_mask(self) -> None:
        """Take the mask of the group: cut to the rank, and with ones where it is shorter."""
        adapter = self.adapter
        assert isinstance(adapter, TLoRA)
        mask = _masks.get(self.options.mask_group_id)
        if mask is not None:
            ones = mask.new_ones(mask.shape[0], max(0, adapter.rank - mask.shape[1]))
            mask = torch.cat([mask[:, : adapter.rank], ones], 1)
        adapter.rank_mask = mask

    def apply_to(self, **_: object) -> None:
        super().apply_to()
        self.update_mask()


def set_timestep_mask(mask: Tensor, group_id: int = 0) -> None:
    """Let only some ranks of T-LoRA act, from now on.

    Args:
        mask: [1 or batch, rank] of zeros and ones.
        group_id: of the modules with that `mask_group_id`.

    Raises:
        InputError: it is not of that shape.
    """
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        raise InputError(f"Argument `mask` must be a tensor [batch, rank], but got {getattr(mask, 'shape', mask)!r}.")
    _masks[group_id] = mask
    _update_modules()


def get_timestep_mask(group_id: int = 0) -> Tensor | None:
    """Return the mask of a group; None where all ranks act."""
    return _masks.get(group_id)


def clear_timestep_mask(group_id: int = 0) -> None:
    """Let all ranks of T-LoRA act."""
    _masks.pop(group_id, None)
    _update_modules()


def compute_timestep_mask(
    timestep: int, max_timestep: int, max_rank: int, min_rank: int = 1, alpha: float = 1.0
) -> Tensor:
    """Return the mask of one timestep, [1, max_rank]: fewer ranks where there is more noise.

    Args:
        timestep: in [0, max_timestep].
        max_timestep: number of timesteps of the noise schedule.
        max_rank: number of ranks at timestep 0.
        min_rank: number of ranks at the last timestep.
        alpha: exponent of the share of the other ranks; 1 is linear.
    """
    share = ((max_timestep - timestep) / max_timestep) ** alpha
    active = min(int(share * (max_rank - min_rank)) + min_rank, max_rank)
    return (torch.arange(max_rank) < active).float().unsqueeze(0)


def _update_modules() -> None:
    for module in _modules:
        if module.applied:
            module.update_mask()
