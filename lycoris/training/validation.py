"""The loss on pictures that training never sees, with noises and times that are always the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lycoris.cache.integrity import file_digest
from lycoris.data.splits import split_held_out as choose
from lycoris.errors import InputError
from lycoris.training.callbacks import CallbackSchedule, TrainingPoint
from lycoris.training.config import TrainingSettings
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import Example, ImageDataset
from lycoris.training.data.sampler import BatchSampler
from lycoris.training.losses import TrainingLoss, compute_losses
from lycoris.training.seeding import derive_generator, derive_seed
from lycoris.training.timestep_bins import TIMESTEP_BINS, bin_means, bin_sums

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Num
    from torch import Tensor

    from lycoris.bases import Base, ForwardProcess
    from lycoris.training.job import Trainable

VALIDATION_SEED = 0
"""Of noises and times, whatever the seed of the run: losses of two runs differ by what they have learned."""
BATCH_SIZE = 8
TIMESTEP_SAMPLES = 4096


def split_examples(examples: Sequence[Example], hold_out: float) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and examples kept from training, as `lycoris.data.splits.held_out` chooses them.

    Args:
        examples: all there are; prior ones stay.
        share: how many to hold out, from 1 on; below 1 what part of them, rounded up.

    Returns:
        Both in their given order.

    Raises:
        InputError: the share is no such number, or nothing would be left to train on.
    """
    if not 0 < hold_out < math.inf or (hold_out > 1 and hold_out != round(hold_out)):
        raise InputError(f"Argument `share` must be a part below 1 or a whole number from 1 on, but got {hold_out!r}.")
    own = [row for row, example in enumerate(examples) if not example.prior]
    _, kept = choose([examples[row].image for row in own], hold_out)
    chosen = {own[row] for row in kept}
    return (
        [example for row, example in enumerate(examples) if row not in chosen],
        [examples[row] for row in sorted(chosen)],
    )


class ValidationCallback:
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
        self,
        base: Base,
        examples: Sequence[Example],
        schedule: CallbackSchedule,
        *,
        noise_levels: int = 4,
        cache_folder: Path | None = None,
    ) -> None:
        if not examples:
            raise InputError("Argument `examples` must hold at least one picture, but is empty.")
        if noise_levels < 1:
            raise InputError(f"Argument `times` must be at least 1, but got {noise_levels}.")
        self.schedule = schedule
        self._base, self._examples, self._noise_levels = base, list(examples), noise_levels
        parts = [self._examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE)]
        self._samplers = [self._build_sampler(part, number, cache_folder) for number, part in enumerate(parts)]
        self._loss = TrainingLoss.from_settings(base, _single_step_settings(1))
        self._quantiles = timestep_quantiles(base.forward_process, noise_levels * len(examples))

    @property
    def identity(self) -> str:
        """The pictures, their captions, and how often they are looked at."""
        seen = [[file_digest(example.image), example.caption] for example in self._examples]
        text = json.dumps(["validation", list(self.schedule.at), self.schedule.every, self._noise_levels, seen])
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, network: Trainable, point: TrainingPoint | None = None) -> dict[str, float]:
        """``"validation"``, and ``"validation/<band>"`` for each of `BANDS` that has a time."""
        sums = torch.zeros(2, len(TIMESTEP_BINS), dtype=torch.float64)
        place = 0
        for time in range(self._noise_levels):
            for part in self._samplers:
                for batch in part(time):
                    count = len(batch.timesteps)
                    timesteps = self._quantiles[place : place + count].to(batch.timesteps.device)
                    place += count
                    network.timestep = timesteps
                    (losses,) = compute_losses(self._base, [replace(batch, timesteps=timesteps)], [self._loss])
                    network.timestep = None
                    sums += bin_sums(self._base.forward_process.noise_level(timesteps), losses.double()).cpu()
        means = zip(TIMESTEP_BINS, bin_means(sums), strict=True)
        whole = {"validation": (sums[0].sum() / sums[1].sum()).item()}
        return whole | {f"validation/{name}": mean for name, mean in means if mean is not None}

    def _build_sampler(self, examples: Sequence[Example], number: int, cache: Path | None) -> BatchSampler:
        """Some pictures with their noises; a step shows each of them once."""
        pictures = ImageDataset(self._base, [example.image for example in examples], cache_folder=cache)
        texts = CaptionEncoder(self._base, [examples[row].caption for row in pictures.valid_indices], trainable=True)
        seed = derive_seed(VALIDATION_SEED, "validation", number)
        return BatchSampler(
            pictures, texts, self._base.forward_process, _single_step_settings(len(pictures.valid_indices)), seed
        )


def _single_step_settings(image_count: int) -> TrainingSettings:
    """The settings of a step that shows every picture once, as it is."""
    return TrainingSettings(steps=1, batch_size=image_count, caption_dropout=0.0)


def timestep_quantiles(forward_process: ForwardProcess, count: int) -> Num[Tensor, " count"]:
    """Times at the middles of equal parts of the distribution that a base trains on, from nearly clean to nearly noise.

    The distribution is known by its draws alone, so this holds for every family.
    """
    drawn = forward_process.sample_timesteps(
        max(TIMESTEP_SAMPLES, 8 * count), derive_generator(VALIDATION_SEED, "times")
    )
    ordered = drawn[forward_process.noise_level(drawn).argsort(stable=True)]
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count * len(ordered)
    return ordered[middles.long()]
