"""The loss by noise level: the average over all timesteps hides that some are learned and others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

TIMESTEP_BINS = ("quarter_1", "quarter_2", "quarter_3", "quarter_4")
"""Equal parts of `ForwardProcess.noise_level`, from nearly clean to nearly pure noise."""


def bin_sums(noise_levels: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> Float[Tensor, "2 bins"]:
    """Sum losses by bin and count them, on the losses' device.

    Args:
        noise_levels: noise level of each image, in [0, 1].
        losses: one per image.
    """
    bins = (noise_levels * len(TIMESTEP_BINS)).long().clamp(max=len(TIMESTEP_BINS) - 1)
    membership = (bins == torch.arange(len(TIMESTEP_BINS), device=bins.device)[:, None]).to(
        losses.dtype
    )  # [bins, batch]
    return torch.stack([membership @ losses.detach(), membership.sum(dim=1)])


def bin_means(sums: Float[Tensor, "2 bins"]) -> list[float | None]:
    """Mean loss of each bin; None if no image was in it."""
    return [total / count if count else None for total, count in zip(*sums.tolist(), strict=True)]
