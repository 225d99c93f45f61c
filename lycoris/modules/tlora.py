"""`lycoris.modules.tlora` of trainers, T-LoRA's mask: see `lycoris.drop_in`."""

from lycoris.drop_in.timestep_mask import (
    TLoraModule,
    clear_timestep_mask,
    compute_timestep_mask,
    get_timestep_mask,
    set_timestep_mask,
)

__all__ = ["TLoraModule", "clear_timestep_mask", "compute_timestep_mask", "get_timestep_mask", "set_timestep_mask"]
