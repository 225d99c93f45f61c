"""What each step is trained on, and its loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.errors import InputError
from lycoris.training.captions import varied
from lycoris.training.pictures import Example, Pictures
from lycoris.training.randomness import Order, generator
from lycoris.training.settings import TrainingSettings
from lycoris.training.texts import Texts

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from lycoris.bases import Base


@dataclass(frozen=True)
class Batch:
    """Pictures of one size, with their noise, times and conditions.

    Attributes:
        sizes: original height and width, top and left of the crop, height and width shown, in pixels; see
            `lycoris.training.framing.Framing.condition`.
        weights: of each picture's loss: 1, or `prior_weight` for a picture of the class at large.
        mask: weights of the loss in [0, 1] from place to place; None weighs all alike.
    """

    latents: Float[Tensor, "batch channels rows columns"]
    noise: Float[Tensor, "batch channels rows columns"]
    timesteps: Int[Tensor, " batch"]
    text: Float[Tensor, "batch tokens width"]
    sizes: Float[Tensor, "batch 6"]
    weights: Float[Tensor, " batch"]
    mask: Float[Tensor, "batch rows columns"] | None = None


class Batches:
    """What a step is trained on, as a pure function of seed and step.

    A step's pictures come from the whole shuffled set; those of one size go through the base together. Where some
    examples are prior ones, as many of them as of the others, shuffled by themselves, join each step.

    Args:
        pictures: latents.
        texts: conditions of the captions.
        times: number of discrete times.
        settings: the dials.
        seed: of the run.
        examples: one a picture, for `repeats` and `prior`; None shows each picture once an epoch.

    Raises:
        InputError: all examples are prior ones.
    """

    def __init__(
        self,
        pictures: Pictures,
        texts: Texts,
        times: int,
        settings: TrainingSettings,
        seed: int,
        examples: Sequence[Example] | None = None,
    ) -> None:
        self._pictures, self._texts, self._times = pictures, texts, times
        self._settings, self._seed = settings, seed
        rows = range(len(pictures.sizes))
        self._shown = list(rows) if examples is None else _shown(examples, prior=False)
        self._priors = [] if examples is None else _shown(examples, prior=True)
        if not self._shown:
            raise InputError("Argument `examples` must hold a picture that is not `prior`, but has none.")
        self._order = Order(len(self._shown), settings.batch_size, seed)
        self._prior_order = Order(len(self._priors), settings.batch_size, seed, name="prior epoch")

    def __call__(self, step: int) -> Iterator[Batch]:
        """The step's pictures, size by size; conditions are encoded as each batch is asked for."""
        rows = [self._shown[place] for place in self._order(step)]
        weights = torch.ones(len(rows))
        if self._priors:
            rows += [self._priors[place] for place in self._prior_order(step)]
            weights = torch.cat([weights, torch.full_like(weights, self._settings.prior_weight)])
        draws = generator(self._seed, "step", step)
        timesteps = torch.randint(self._times, (len(rows),), generator=draws)
        dropped = (torch.rand(len(rows), generator=draws) < self._settings.caption_dropout).tolist()
        flipped = (torch.rand(len(rows), generator=draws) < 0.5 * self._settings.flip).tolist()
        captions = self._captions(rows, dropped, step)
        sizes: dict[tuple[int, int], list[int]] = {}
        for position, row in enumerate(rows):
            sizes.setdefault(self._pictures.sizes[row], []).append(position)
        for positions in sizes.values():
            chosen = [rows[position] for position in positions]
            mirrored = [flipped[position] for position in positions]
            latents = self._pictures.stack(chosen, mirrored)
            yield Batch(
                latents=latents,
                noise=torch.randn(latents.shape, generator=draws).to(latents.device),
                timesteps=timesteps[positions].to(latents.device),
                text=self._texts([captions[position] for position in positions]),
                sizes=self._pictures.frames(chosen),
                weights=weights[positions].to(latents.device),
                mask=self._pictures.masks(chosen, mirrored),
            )

    def _captions(self, rows: Sequence[int], dropped: Sequence[bool], step: int) -> list[str]:
        """What each picture's caption says at this step; its draws are their own, so that others stay as they are."""
        draws = generator(self._seed, "captions", step)
        said = [varied(self._texts.captions[row], self._settings, draws) for row in rows]
        return ["" if empty else caption for caption, empty in zip(said, dropped, strict=True)]


def _shown(examples: Sequence[Example], *, prior: bool) -> list[int]:
    """Rows that an epoch shows, each as often as it repeats."""
    return [row for row, one in enumerate(examples) for _ in range(one.repeats) if one.prior == prior]


def losses_of(base: Base, batch: Batch, min_snr: float | None) -> Float[Tensor, " batch"]:
    """Mean squared error of the base's prediction for each picture, over its mask, times its weight.

    Args:
        base: predicts.
        batch: what to predict.
        min_snr: cap of the signal-to-noise ratio in the weight of each time; None weighs all times alike.

    Returns:
        w sum(m e) / sum(m) for each picture, with e the squared error averaged over channels.
    """
    noisy = base.noise.mix(batch.latents, batch.noise, batch.timesteps)
    target = base.noise.target(batch.latents, batch.noise, batch.timesteps)
    errors = (base.predict(noisy, batch.timesteps, batch.text) - target).square()
    if batch.mask is None:
        losses = errors.mean(dim=(1, 2, 3))
    else:
        losses = (errors.mean(dim=1) * batch.mask).sum(dim=(1, 2)) / batch.mask.sum(dim=(1, 2))
    losses = losses * batch.weights
    return losses if min_snr is None else losses * base.noise.min_snr_weight(batch.timesteps, min_snr)
