"""What each step is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.training.pictures import Pictures
from lycoris.training.processes import ALONE, Processes
from lycoris.training.randomness import Order, generator
from lycoris.training.settings import TrainingSettings
from lycoris.training.texts import Texts

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

    from lycoris.bases import Conditions, Noise


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

    A step's pictures come from the whole shuffled set; those of one size go through the base together, `batch_size`
    at once at most. Where several processes share a run, all draw for the whole step and each has its part of it.
    """

    def __init__(
        self,
        pictures: Pictures,
        texts: Texts,
        noise: Noise,
        settings: TrainingSettings,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        self._pictures, self._texts, self._noise = pictures, texts, noise
        self._settings, self._seed, self._processes = settings, seed, processes
        self._order = Order(len(pictures.sizes), settings.pictures_a_step, seed)

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
        offsets = generator(self._seed, "offset", step)
        for positions in sizes.values():
            chosen = [rows[position] for position in positions]
            latents = self._pictures.stack(chosen, [flipped[position] for position in positions])
            noise = torch.randn(latents.shape, generator=draws)
            if self._settings.noise_offset:
                noise += self._settings.noise_offset * torch.randn(*latents.shape[:2], 1, 1, generator=offsets)
            mine = [place for place, position in enumerate(positions) if self._processes.has(position)]
            for start in range(0, len(mine), self._settings.batch_size):
                part = mine[start : start + self._settings.batch_size]
                some = [chosen[place] for place in part]
                conditions = self._texts(some, [dropped[positions[place]] for place in part])
                frames = self._pictures.frames(some).to(latents.device)
                times = timesteps[[positions[place] for place in part]].to(latents.device)
                yield Batch(latents[part], noise[part].to(latents.device), times, conditions, frames)
