"""Losses: from the errors of predictions to the loss of each image, under its run's settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.bases.shapes import Latents
from lycoris.training.data.sampler import Batch
from lycoris.training.requirements import resolve_forward_process

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base, ForwardProcess
    from lycoris.training.config import TrainingSettings


def mse(errors: Tensor, delta: float) -> Tensor:
    """The squared error e^2."""
    return errors.square()


def smooth_l1(errors: Tensor, delta: float) -> Tensor:
    """2 (sqrt(e^2 + delta^2) - delta): twice the absolute error for large e, e^2 / delta near 0.

    The pseudo-Huber loss of Song & Dhariwal, "Improved Techniques for Training Consistency Models", section 3.3, with
    the scale that diffusers and sd-scripts use.
    """
    return 2 * ((errors.square() + delta**2).sqrt() - delta)


def huber(errors: Tensor, delta: float) -> Tensor:
    """`smooth_l1` times delta: e^2 near 0, as in `mse`, and 2 delta |e| for large e."""
    return delta * smooth_l1(errors, delta)


LOSS_FUNCTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {"mse": mse, "huber": huber, "smooth_l1": smooth_l1}
"""Loss functions of the errors and of delta, the error at which the last two turn from quadratic to linear."""


@dataclass(frozen=True)
class TrainingLoss:
    """The loss of one run: how its latents are noised and its predictions compared with the targets.

    Attributes:
        forward_process: the base's, or the run's variant of it.
        settings: settings of the run.
    """

    forward_process: ForwardProcess
    settings: TrainingSettings

    @classmethod
    def from_settings(cls, base: Base, settings: TrainingSettings) -> TrainingLoss:
        """Build the loss of a run on a base.

        Raises:
            InputError: the settings do not fit the base's forward process.
        """
        return cls(resolve_forward_process(base.forward_process, settings), settings)

    def noisy_latents(self, batch: Batch) -> Latents:
        """The noisy latents that the base gets."""
        return self.forward_process.add_noise(batch.latents, batch.noise, batch.timesteps)

    def __call__(self, prediction: Latents, batch: Batch) -> Float[Tensor, " batch"]:
        """Loss of each image, averaged by `Batch.image_losses`, weighted if `min_snr` or `loss_weighting` is set."""
        target = self.forward_process.target(batch.latents, batch.noise, batch.timesteps)
        errors = LOSS_FUNCTIONS[self.settings.loss](prediction - target, self.settings.huber_delta)
        losses = batch.image_losses(errors)
        if self.settings.loss_weighting is not None:
            losses = losses * self.forward_process.loss_weight(batch.timesteps, self.settings.loss_weighting)
        if self.settings.min_snr is None:
            return losses
        return losses * self.forward_process.min_snr_weight(batch.timesteps, self.settings.min_snr)


def compute_losses(
    base: Base, batches: Sequence[Batch], losses: Sequence[TrainingLoss]
) -> list[Float[Tensor, " batch"]]:
    """Compute the loss of each image of several runs, whose batches the base processes as one.

    Args:
        base: predicts for all batches.
        batches: one per run, of one image size.
        losses: one per run.
    """
    noisy = torch.cat([loss.noisy_latents(batch) for loss, batch in zip(losses, batches, strict=True)])
    timesteps = torch.cat([batch.timesteps for batch in batches])
    sizes = torch.cat([batch.size_conditioning for batch in batches])
    conditioning = type(batches[0].conditioning).cat([batch.conditioning for batch in batches])
    predictions = base.predict(noisy, timesteps, conditioning, sizes)
    parts = predictions.split([len(batch.latents) for batch in batches])
    return [loss(part, batch) for loss, part, batch in zip(losses, parts, batches, strict=True)]
