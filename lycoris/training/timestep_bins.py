"""The loss by how noisy the picture was: an average over all times hides that some are learned and others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

TIMESTEP_BINS = ("quarter_1", "quarter_2", "quarter_3", "quarter_4")
"""Equal parts of `Noise.fraction`, from the nearly clean to the nearly pure noise."""


def bin_sums(noise_levels: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> Float[Tensor, "2 bands"]:
    """Sums of some losses by band, and how many there were, on the losses' device.

    Args:
        fractions: how far each picture was towards pure noise, in [0, 1].
        losses: one a picture.
    """
    bands = (noise_levels * len(TIMESTEP_BINS)).long().clamp(max=len(TIMESTEP_BINS) - 1)
    member = (bands == torch.arange(len(TIMESTEP_BINS), device=bands.device)[:, None]).to(
        losses.dtype
    )  # [bands, batch]
    return torch.stack([member @ losses.detach(), member.sum(dim=1)])


def bin_means(sums: Float[Tensor, "2 bands"]) -> list[float | None]:
    """Mean loss of each band; None where no picture was in it."""
    return [total / count if count else None for total, count in zip(*sums.tolist(), strict=True)]
