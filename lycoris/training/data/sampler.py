"""The batches of each training step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.bases.conditioning import group_rows
from lycoris.bases.shapes import ImageSizes, Latents, Timesteps
from lycoris.errors import InputError
from lycoris.training.config import TrainingSettings
from lycoris.training.data.caption_augmentation import augment_caption
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import Example, ImageDataset
from lycoris.training.distributed import SINGLE_PROCESS, ProcessGroup
from lycoris.training.seeding import EpochSampler, derive_generator

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import ForwardProcess, TextConditioning


@dataclass(frozen=True)
class Batch:
    """Images of one size, with their noise, timesteps and conditioning.

    Attributes:
        latents: clean latents.
        noise: noise to add.
        timesteps: one per image.
        conditioning: one per image.
        size_conditioning: see `lycoris.training.data.cropping.ResizeCrop.size_conditioning`.
        weights: weight of each image's loss: 1, or `prior_weight` for a prior image.
        mask: weight of the loss in [0, 1] per latent cell; None weights all equally.
    """

    latents: Latents
    noise: Latents
    timesteps: Timesteps
    conditioning: TextConditioning
    size_conditioning: ImageSizes
    weights: Float[Tensor, " batch"]
    mask: Float[Tensor, "batch rows columns"] | None = None

    def image_losses(self, errors: Latents) -> Float[Tensor, " batch"]:
        """Each image's loss w sum(m e) / sum(m): e are the errors averaged over channels, m the mask, w the weight."""
        if self.mask is None:
            return errors.mean(dim=(1, 2, 3)) * self.weights
        return (errors.mean(dim=1) * self.mask).sum(dim=(1, 2)) / self.mask.sum(dim=(1, 2)) * self.weights


class BatchSampler:
    """The batches of a step, as a pure function of seed and step.

    A step's images come from the whole shuffled set; those of one size, whose captions are read in equally many
    windows, form batches of at most `batch_size`. If there are prior examples, as many of them as of the others,
    shuffled separately, join each step. Every process of a group
    computes the random numbers of the whole step and yields its own part of it.

    Args:
        dataset: the latents.
        caption_encoder: the conditioning of the captions.
        forward_process: samples the timesteps.
        settings: the settings of the run.
        seed: seed of the run.
        examples: one per image, for `repeats`, `prior` and `alternatives`; None has each image once per epoch.
        process_group: the processes of the run.

    Raises:
        InputError: all examples are prior ones.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        caption_encoder: CaptionEncoder,
        forward_process: ForwardProcess,
        settings: TrainingSettings,
        seed: int,
        examples: Sequence[Example] | None = None,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._dataset, self._caption_encoder, self._forward_process = dataset, caption_encoder, forward_process
        self._settings, self._seed, self._process_group = settings, seed, process_group
        rows = range(len(dataset.sizes))
        self._rows = list(rows) if examples is None else _epoch_rows(examples, prior=False)
        self._prior_rows = [] if examples is None else _epoch_rows(examples, prior=True)
        self._alternatives = {row: one.alternatives for row, one in enumerate(examples or ()) if one.alternatives}
        if not self._rows:
            raise InputError("Argument `examples` must hold an image that is not `prior`, but has none.")
        self._sampler = EpochSampler(len(self._rows), settings.effective_batch_size, seed)
        self._prior_sampler = EpochSampler(
            len(self._prior_rows), settings.effective_batch_size, seed, name="prior epoch"
        )
        self._max_batch_size = settings.batch_size * (2 if self._prior_rows else 1)

    def __call__(self, step: int) -> Iterator[Batch]:
        """Yield the step's batches, one image size at a time; captions are encoded as each batch is requested."""
        rows = [self._rows[index] for index in self._sampler(step)]
        weights = torch.ones(len(rows))
        if self._prior_rows:
            rows += [self._prior_rows[index] for index in self._prior_sampler(step)]
            weights = torch.cat([weights, torch.full_like(weights, self._settings.prior_weight)])
        generator = derive_generator(self._seed, "step", step)
        timesteps = self._forward_process.sample_timesteps(
            len(rows), generator, [self._dataset.sizes[row] for row in rows]
        )
        is_uncaptioned = (torch.rand(len(rows), generator=generator) < self._settings.caption_dropout).tolist()
        is_flipped = (torch.rand(len(rows), generator=generator) < 0.5 * self._settings.horizontal_flip).tolist()
        captions = self._augment_captions(rows, is_uncaptioned, step)
        sizes: dict[tuple[int, int], list[int]] = {}
        for position, row in enumerate(rows):
            sizes.setdefault(self._dataset.sizes[row], []).append(position)
        offset_generator = derive_generator(self._seed, "offset", step)
        for positions in sizes.values():
            group = [rows[position] for position in positions]
            flips = [is_flipped[position] for position in positions]
            latents = self._dataset.stack_latents(group, flips)
            noise = torch.randn(latents.shape, generator=generator)
            if self._settings.noise_offset:
                offset = torch.randn(*latents.shape[:2], 1, 1, generator=offset_generator)
                noise += self._settings.noise_offset * offset
            masks = self._dataset.stack_masks(group, flips)
            owned = [index for index, position in enumerate(positions) if self._process_group.owns(position)]
            for part in self._parts(owned, [captions[positions[index]] for index in owned]):
                members = [positions[index] for index in part]
                yield Batch(
                    latents=latents[part],
                    noise=noise[part].to(latents.device),
                    timesteps=timesteps[members].to(latents.device),
                    conditioning=self._caption_encoder([captions[position] for position in members]),
                    size_conditioning=self._dataset.size_conditioning([group[index] for index in part]),
                    weights=weights[members].to(latents.device),
                    mask=None if masks is None else masks[part],
                )

    def _parts(self, owned: Sequence[int], captions: Sequence[str]) -> Iterator[list[int]]:
        """Divide images of one size, by the lengths of their captions, into batches of at most `batch_size`."""
        for rows in group_rows(self._caption_encoder.count_windows(captions)):
            for start in range(0, len(rows), self._max_batch_size):
                yield [owned[row] for row in rows[start : start + self._max_batch_size]]

    def _augment_captions(self, rows: Sequence[int], is_uncaptioned: Sequence[bool], step: int) -> list[str]:
        """Each image's caption at this step; its randomness is separate, so that other random numbers do not change."""
        generator = derive_generator(self._seed, "captions", step)
        captions = [self._caption_encoder.captions[row] for row in rows]
        if self._alternatives:
            chances = torch.rand(len(rows), generator=derive_generator(self._seed, "alternatives", step)).tolist()
            for position, (row, chance) in enumerate(zip(rows, chances, strict=True)):
                if own := self._alternatives.get(row):
                    captions[position] = own[int(chance * len(own))]
        augmented = [augment_caption(caption, self._settings, generator) for caption in captions]
        return ["" if empty else caption for caption, empty in zip(augmented, is_uncaptioned, strict=True)]


def _epoch_rows(examples: Sequence[Example], *, prior: bool) -> list[int]:
    """Rows of an epoch, each as often as its example repeats."""
    return [row for row, example in enumerate(examples) for _ in range(example.repeats) if example.prior == prior]
