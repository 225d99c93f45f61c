"""The loss on pictures that training never sees, with noises and times that are always the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lycoris.cache.store import file_digest
from lycoris.data.splits import held_out as choose
from lycoris.errors import InputError
from lycoris.training.callbacks import Moment, When
from lycoris.training.config import TrainingSettings
from lycoris.training.data.caption_encoding import Texts
from lycoris.training.data.image_dataset import Example, Pictures
from lycoris.training.data.sampler import Batches
from lycoris.training.losses import Loss, losses_of
from lycoris.training.seeding import derived_seed, generator
from lycoris.training.timestep_bins import BANDS, band_means, band_sums

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Num
    from torch import Tensor

    from lycoris.bases import Base, Noise
    from lycoris.training.training_run import Trainable

SEED = 0
"""Of noises and times, whatever the seed of the run: losses of two runs differ by what they have learned."""
AT_ONCE = 8
DRAWS = 4096


def held_out(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and examples kept from training, as `lycoris.data.splits.held_out` chooses them.

    Args:
        examples: all there are; prior ones stay.
        share: how many to hold out, from 1 on; below 1 what part of them, rounded up.

    Returns:
        Both in their given order.

    Raises:
        InputError: the share is no such number, or nothing would be left to train on.
    """
    if not 0 < share < math.inf or (share > 1 and share != round(share)):
        raise InputError(f"Argument `share` must be a part below 1 or a whole number from 1 on, but got {share!r}.")
    own = [row for row, example in enumerate(examples) if not example.prior]
    _, kept = choose([examples[row].image for row in own], share)
    chosen = {own[row] for row in kept}
    return (
        [example for row, example in enumerate(examples) if row not in chosen],
        [examples[row] for row in sorted(chosen)],
    )


class Validation:
    """A look that gives the mean squared error on held-out pictures, in all and by band of times.

    Each picture is seen at `times` times, one from each of as many parts of equal weight of the distribution that the
    base trains on, and no two pictures at the same. Neither captions are dropped nor times weighed, whatever the run
    does, so that runs of other settings compare.

    Args:
        base: with the network attached.
        examples: the held-out pictures.
        when: the moments.
        times: of each picture.
        cache: folder for latents, shared between runs.

    Raises:
        InputError: no pictures, no times, or an unreadable picture.
    """

    def __init__(
        self, base: Base, examples: Sequence[Example], when: When, *, times: int = 4, cache: Path | None = None
    ) -> None:
        if not examples:
            raise InputError("Argument `examples` must hold at least one picture, but is empty.")
        if times < 1:
            raise InputError(f"Argument `times` must be at least 1, but got {times}.")
        self.when = when
        self._base, self._examples, self._times = base, list(examples), times
        parts = [self._examples[start : start + AT_ONCE] for start in range(0, len(examples), AT_ONCE)]
        self._parts = [self._batches(part, number, cache) for number, part in enumerate(parts)]
        self._loss = Loss.of(base, _plain(1))
        self._quantiles = quantiles(base.noise, times * len(examples))

    @property
    def identity(self) -> str:
        """The pictures, their captions, and how often they are looked at."""
        seen = [[file_digest(example.image), example.caption] for example in self._examples]
        text = json.dumps(["validation", list(self.when.at), self.when.every, self._times, seen])
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, network: Trainable, moment: Moment | None = None) -> dict[str, float]:
        """``"validation"``, and ``"validation/<band>"`` for each of `BANDS` that has a time."""
        sums = torch.zeros(2, len(BANDS), dtype=torch.float64)
        place = 0
        for time in range(self._times):
            for part in self._parts:
                for batch in part(time):
                    count = len(batch.timesteps)
                    timesteps = self._quantiles[place : place + count].to(batch.timesteps.device)
                    place += count
                    network.timestep = timesteps
                    (losses,) = losses_of(self._base, [replace(batch, timesteps=timesteps)], [self._loss])
                    network.timestep = None
                    sums += band_sums(self._base.noise.fraction(timesteps), losses.double()).cpu()
        means = zip(BANDS, band_means(sums), strict=True)
        whole = {"validation": (sums[0].sum() / sums[1].sum()).item()}
        return whole | {f"validation/{name}": mean for name, mean in means if mean is not None}

    def _batches(self, examples: Sequence[Example], number: int, cache: Path | None) -> Batches:
        """Some pictures with their noises; a step shows each of them once."""
        pictures = Pictures(self._base, [example.image for example in examples], cache=cache)
        texts = Texts(self._base, [examples[row].caption for row in pictures.kept], adapted=True)
        seed = derived_seed(SEED, "validation", number)
        return Batches(pictures, texts, self._base.noise, _plain(len(pictures.kept)), seed)


def _plain(pictures: int) -> TrainingSettings:
    """The settings of a step that shows every picture once, as it is."""
    return TrainingSettings(steps=1, batch_size=pictures, caption_dropout=0.0)


def quantiles(noise: Noise, count: int) -> Num[Tensor, " count"]:
    """Times at the middles of equal parts of the distribution that a base trains on, from nearly clean to nearly noise.

    The distribution is known by its draws alone, so this holds for every family.
    """
    drawn = noise.draw(max(DRAWS, 8 * count), generator(SEED, "times"))
    ordered = drawn[noise.fraction(drawn).argsort(stable=True)]
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count * len(ordered)
    return ordered[middles.long()]
