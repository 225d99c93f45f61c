"""What each step is trained on, and its loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.training.pictures import Pictures
from lycoris.training.randomness import Order, generator
from lycoris.training.settings import TrainingSettings
from lycoris.training.texts import Texts

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

    from lycoris.bases import Base, Conditions, Noise


@dataclass(frozen=True)
class Batch:
    """Pictures of one size, with their noise, times and conditions."""

    latents: Float[Tensor, "batch channels rows columns"]
    noise: Float[Tensor, "batch channels rows columns"]
    timesteps: Num[Tensor, " batch"]
    conditions: Conditions
    sizes: Float[Tensor, "batch 6"]

    @staticmethod
    def cat(some: Sequence[Batch]) -> Batch:
        """Several batches of one size as one."""
        if len(some) == 1:
            return some[0]
        latents, noise, timesteps, sizes = (
            torch.cat([getattr(batch, name) for batch in some]) for name in ("latents", "noise", "timesteps", "sizes")
        )
        return Batch(latents, noise, timesteps, type(some[0].conditions).cat([b.conditions for b in some]), sizes)


class Batches:
    """What a step is trained on, as a pure function of seed and step.

    A step's pictures come from the whole shuffled set; those of one size go through the base together.
    """

    def __init__(self, pictures: Pictures, texts: Texts, noise: Noise, settings: TrainingSettings, seed: int) -> None:
        self._pictures, self._texts, self._noise = pictures, texts, noise
        self._settings, self._seed = settings, seed
        self._order = Order(len(pictures.sizes), settings.batch_size, seed)

    def __call__(self, step: int) -> Iterator[Batch]:
        """The step's pictures, size by size; conditions are encoded as each batch is asked for."""
        rows = self._order(step)
        draws = generator(self._seed, "step", step)
        timesteps = self._noise.draw(len(rows), draws)
        dropped = (torch.rand(len(rows), generator=draws) < self._settings.caption_dropout).tolist()
        flipped = (torch.rand(len(rows), generator=draws) < 0.5 * self._settings.flip).tolist()
        sizes: dict[tuple[int, int], list[int]] = {}
        for position, row in enumerate(rows):
            sizes.setdefault(self._pictures.sizes[row], []).append(position)
        for positions in sizes.values():
            chosen = [rows[position] for position in positions]
            latents = self._pictures.stack(chosen, [flipped[position] for position in positions])
            noise = torch.randn(latents.shape, generator=draws).to(latents.device)
            conditions = self._texts(chosen, [dropped[position] for position in positions])
            frames = self._pictures.frames(chosen).to(latents.device)
            yield Batch(latents, noise, timesteps[positions].to(latents.device), conditions, frames)


def losses_of(base: Base, batches: Sequence[Batch], min_snrs: Sequence[float | None]) -> list[Float[Tensor, " batch"]]:
    """Mean squared error of the base's prediction for each picture, weighted where a cap of the SNR is given.

    Args:
        base: predicts for all batches at once.
        batches: of one size, one a network.
        min_snrs: each batch's cap, or None.
    """
    whole = Batch.cat(batches)
    noisy = base.noise.mix(whole.latents, whole.noise, whole.timesteps)
    target = base.noise.target(whole.latents, whole.noise, whole.timesteps)
    prediction = base.predict(noisy, whole.timesteps, whole.conditions, whole.sizes)
    errors = (prediction - target).square().mean(dim=(1, 2, 3))
    return [
        own if cap is None else own * base.noise.min_snr_weight(batch.timesteps, cap)
        for own, batch, cap in zip(errors.split([len(b.latents) for b in batches]), batches, min_snrs, strict=True)
    ]
