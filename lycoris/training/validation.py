"""Validation: the loss on held-out images, with fixed noise and timesteps."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lycoris.cache.integrity import file_digest
from lycoris.data.splits import split_held_out
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
"""Seed of noise and timesteps, the same for every run, so that the losses of two runs compare."""
BATCH_SIZE = 8
TIMESTEP_SAMPLES = 4096


def split_examples(examples: Sequence[Example], hold_out: float) -> tuple[list[Example], list[Example]]:
    """Split examples into those to train on and those to hold out, with `lycoris.data.splits.split_held_out`.

    Args:
        examples: all examples; prior ones are not held out, nor are images with the same bytes as a prior one.
        hold_out: how many to hold out: a whole number from 1 on, or a fraction below 1, rounded up.

    Returns:
        Both in their original order.

    Raises:
        InputError: `hold_out` is not such a number, or nothing would be left to train on.
    """
    if not 0 < hold_out < math.inf or (hold_out > 1 and hold_out != round(hold_out)):
        raise InputError(f"Argument `hold_out` must be a fraction below 1 or a whole number, but got {hold_out!r}.")
    priors = {file_digest(example.image) for example in examples if example.prior}
    candidates = [
        row
        for row, example in enumerate(examples)
        if not example.prior and not (priors and file_digest(example.image) in priors)
    ]
    _, rows = split_held_out([examples[row].image for row in candidates], hold_out)
    held_out = {candidates[row] for row in rows}
    return (
        [example for row, example in enumerate(examples) if row not in held_out],
        [examples[row] for row in sorted(held_out)],
    )


class ValidationCallback:
    """Computes the mean squared error on held-out images, overall and by timestep bin.

    Each image is noised to `noise_levels` timesteps, one from each of as many quantile ranges of the distribution that
    the base trains on; no two images share one. Captions are not dropped and timesteps not weighted, regardless of the
    run's settings, so that runs with different settings compare.

    Args:
        base: the base, with the network attached.
        examples: the held-out images.
        schedule: when to validate.
        noise_levels: timesteps per image.
        cache_folder: folder for latents, shared between runs.

    Raises:
        InputError: there are no images, `noise_levels` is below 1, or an image is invalid.
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
            raise InputError("Argument `examples` must hold at least one image, but is empty.")
        if noise_levels < 1:
            raise InputError(f"Argument `noise_levels` must be at least 1, but got {noise_levels}.")
        self.schedule = schedule
        self._base, self._examples, self._noise_levels = base, list(examples), noise_levels
        parts = [self._examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE)]
        self._samplers = [self._build_sampler(part, number, cache_folder) for number, part in enumerate(parts)]
        self._loss = TrainingLoss.from_settings(base, _single_step_settings(1))
        self._quantiles = timestep_quantiles(base.forward_process, noise_levels * len(examples))

    @property
    def identity(self) -> str:
        """Hash of the images, their captions and the schedule."""
        images = [[file_digest(example.image), example.caption] for example in self._examples]
        text = json.dumps(["validation", list(self.schedule.at), self.schedule.every, self._noise_levels, images])
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, network: Trainable, point: TrainingPoint | None = None) -> dict[str, float]:
        """Return ``"validation"``, and ``"validation/<bin>"`` for each of `TIMESTEP_BINS` that has a timestep."""
        sums = torch.zeros(2, len(TIMESTEP_BINS), dtype=torch.float64)
        position = 0
        for step in range(self._noise_levels):
            for sampler in self._samplers:
                for batch in sampler(step):
                    count = len(batch.timesteps)
                    timesteps = self._quantiles[position : position + count].to(batch.timesteps.device)
                    position += count
                    network.timestep = timesteps
                    (losses,) = compute_losses(self._base, [replace(batch, timesteps=timesteps)], [self._loss])
                    network.timestep = None
                    sums += bin_sums(self._base.forward_process.noise_level(timesteps), losses.double()).cpu()
        means = zip(TIMESTEP_BINS, bin_means(sums), strict=True)
        overall = {"validation": (sums[0].sum() / sums[1].sum()).item()}
        return overall | {f"validation/{name}": mean for name, mean in means if mean is not None}

    def _build_sampler(self, examples: Sequence[Example], number: int, cache: Path | None) -> BatchSampler:
        """A sampler of some images with their noise; a step has each of them once."""
        dataset = ImageDataset(self._base, [example.image for example in examples], cache_folder=cache)
        captions = CaptionEncoder(self._base, [examples[row].caption for row in dataset.valid_indices], trainable=True)
        seed = derive_seed(VALIDATION_SEED, "validation", number)
        return BatchSampler(
            dataset, captions, self._base.forward_process, _single_step_settings(len(dataset.valid_indices)), seed
        )


def _single_step_settings(image_count: int) -> TrainingSettings:
    """Settings of a step that has every image once, unchanged."""
    return TrainingSettings(steps=1, batch_size=image_count, caption_dropout=0.0)


def timestep_quantiles(forward_process: ForwardProcess, count: int) -> Num[Tensor, " count"]:
    """Timesteps at evenly spaced quantiles of the distribution that a base trains on, from clean to noisy.

    They are estimated from samples, so this works for every family.
    """
    samples = forward_process.sample_timesteps(
        max(TIMESTEP_SAMPLES, 8 * count), derive_generator(VALIDATION_SEED, "times")
    )
    ordered = samples[forward_process.noise_level(samples).argsort(stable=True)]
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count * len(ordered)
    return ordered[middles.long()]
