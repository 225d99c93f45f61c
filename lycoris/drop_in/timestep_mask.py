"""T-LoRA's module and the mask of ranks that a trainer sets before a step."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.algorithms.tlora import TLoRA
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.errors import InputError

_masks: dict[int, Tensor] = {}
_modules: weakref.WeakSet[TLoraModule] = weakref.WeakSet()


class TLoraModule(LycorisBaseModule):
    """T-LoRA, of which the ranks act that the mask of its group has."""

    algorithm = "t-lora"
    name = "tlora"

    def _set_up(self, lora_name: str, org_module: nn.Module, adapter: Adapter) -> None:
        super()._set_up(lora_name, org_module, adapter)
        _modules.add(self)

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
