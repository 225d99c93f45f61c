"""What each step is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.errors import InputError
from lycoris.training.config import TrainingSettings
from lycoris.training.data.caption_augmentation import augment_caption
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import Example, ImageDataset
from lycoris.training.distributed import SINGLE_PROCESS, ProcessGroup
from lycoris.training.seeding import EpochSampler, derive_generator

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

    from lycoris.bases import ForwardProcess, TextConditioning


@dataclass(frozen=True)
class Batch:
    """Pictures of one size, with their noise, times and conditions.

    Attributes:
        sizes: original height and width, top and left of the crop, height and width shown, in pixels; see
            `lycoris.training.data.cropping.Framing.condition`.
        weights: of each picture's loss: 1, or `prior_weight` for a picture of the class at large.
        mask: weights of the loss in [0, 1] from place to place; None weighs all alike.
    """

    latents: Float[Tensor, "batch channels rows columns"]
    noise: Float[Tensor, "batch channels rows columns"]
    timesteps: Num[Tensor, " batch"]
    conditioning: TextConditioning
    size_conditioning: Float[Tensor, "batch 6"]
    weights: Float[Tensor, " batch"]
    mask: Float[Tensor, "batch rows columns"] | None = None

    def image_losses(self, errors: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, " batch"]:
        """Each picture's loss: w sum(m e) / sum(m), e the errors averaged over channels, m the mask, w the weight."""
        if self.mask is None:
            return errors.mean(dim=(1, 2, 3)) * self.weights
        return (errors.mean(dim=1) * self.mask).sum(dim=(1, 2)) / self.mask.sum(dim=(1, 2)) * self.weights


class BatchSampler:
    """What a step is trained on, as a pure function of seed and step.

    A step's pictures come from the whole shuffled set; those of one size go through the base together, `batch_size`
    at once at most. Where some examples are prior ones, as many of them as of the others, shuffled by themselves, join
    each step. Where several processes share a run, all draw for the whole step and each has its part of it.

    Args:
        pictures: latents.
        texts: conditions of the captions.
        noise: draws the times.
        settings: the dials.
        seed: of the run.
        examples: one a picture, for `repeats` and `prior`; None shows each picture once an epoch.
        processes: that the run is shared by.

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
        if not self._rows:
            raise InputError("Argument `examples` must hold a picture that is not `prior`, but has none.")
        self._sampler = EpochSampler(len(self._rows), settings.effective_batch_size, seed)
        self._prior_sampler = EpochSampler(
            len(self._prior_rows), settings.effective_batch_size, seed, name="prior epoch"
        )
        self._max_batch_size = settings.batch_size * (2 if self._prior_rows else 1)

    def __call__(self, step: int) -> Iterator[Batch]:
        """The step's pictures, size by size; conditions are encoded as each batch is asked for."""
        rows = [self._rows[place] for place in self._sampler(step)]
        weights = torch.ones(len(rows))
        if self._prior_rows:
            rows += [self._prior_rows[place] for place in self._prior_sampler(step)]
            weights = torch.cat([weights, torch.full_like(weights, self._settings.prior_weight)])
        draws = derive_generator(self._seed, "step", step)
        timesteps = self._forward_process.sample_timesteps(len(rows), draws)
        dropped = (torch.rand(len(rows), generator=draws) < self._settings.caption_dropout).tolist()
        flipped = (torch.rand(len(rows), generator=draws) < 0.5 * self._settings.horizontal_flip).tolist()
        captions = self._captions(rows, dropped, step)
        sizes: dict[tuple[int, int], list[int]] = {}
        for position, row in enumerate(rows):
            sizes.setdefault(self._dataset.sizes[row], []).append(position)
        offsets = derive_generator(self._seed, "offset", step)
        for positions in sizes.values():
            chosen = [rows[position] for position in positions]
            mirrored = [flipped[position] for position in positions]
            latents = self._dataset.stack_latents(chosen, mirrored)
            noise = torch.randn(latents.shape, generator=draws)
            if self._settings.noise_offset:
                noise += self._settings.noise_offset * torch.randn(*latents.shape[:2], 1, 1, generator=offsets)
            masks = self._dataset.stack_masks(chosen, mirrored)
            mine = [place for place, position in enumerate(positions) if self._process_group.owns(position)]
            for start in range(0, len(mine), self._max_batch_size):
                part = mine[start : start + self._max_batch_size]
                drawn = [positions[place] for place in part]
                yield Batch(
                    latents=latents[part],
                    noise=noise[part].to(latents.device),
                    timesteps=timesteps[drawn].to(latents.device),
                    conditioning=self._caption_encoder([captions[position] for position in drawn]),
                    size_conditioning=self._dataset.size_conditioning([chosen[place] for place in part]),
                    weights=weights[drawn].to(latents.device),
                    mask=None if masks is None else masks[part],
                )

    def _captions(self, rows: Sequence[int], dropped: Sequence[bool], step: int) -> list[str]:
        """What each picture's caption says at this step; its draws are their own, so that others stay as they are."""
        draws = derive_generator(self._seed, "captions", step)
        said = [augment_caption(self._caption_encoder.captions[row], self._settings, draws) for row in rows]
        return ["" if empty else caption for caption, empty in zip(said, dropped, strict=True)]


def _epoch_rows(examples: Sequence[Example], *, prior: bool) -> list[int]:
    """Rows that an epoch shows, each as often as it repeats."""
    return [row for row, one in enumerate(examples) for _ in range(one.repeats) if one.prior == prior]
