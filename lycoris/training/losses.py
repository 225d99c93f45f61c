"""What a prediction's error costs: the loss of each picture, under the settings of the run that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.bases.noise import DiscreteDiffusion
from lycoris.errors import InputError
from lycoris.training.data.sampler import Batch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base, ForwardProcess
    from lycoris.training.config import TrainingSettings


def mse(errors: Tensor, delta: float) -> Tensor:
    """The squared error e^2."""
    return errors.square()


def smooth_l1(errors: Tensor, delta: float) -> Tensor:
    """2 (sqrt(e^2 + delta^2) - delta): twice the absolute error far out, e^2 / delta near 0.

    The pseudo-Huber loss of Song & Dhariwal, "Improved Techniques for Training Consistency Models", section 3.3, in
    the scale that diffusers and sd-scripts train with.
    """
    return 2 * ((errors.square() + delta**2).sqrt() - delta)


def huber(errors: Tensor, delta: float) -> Tensor:
    """The same times delta: e^2 near 0, as `mse` has it, and 2 delta |e| far out."""
    return delta * smooth_l1(errors, delta)


LOSS_FUNCTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {"mse": mse, "huber": huber, "smooth_l1": smooth_l1}
"""From the prediction's errors, and the error at which the last two turn from square to straight, to their cost."""


@dataclass(frozen=True)
class TrainingLoss:
    """How one run's pictures are noised and its predictions judged.

    Attributes:
        noise: the base's forward process, or what the run makes of it.
        settings: of the run.
    """

    forward_process: ForwardProcess
    settings: TrainingSettings

    @classmethod
    def from_settings(cls, base: Base, settings: TrainingSettings) -> TrainingLoss:
        """The loss that a run's settings ask for on a base.

        Raises:
            InputError: the base's forward process does not go with the settings.
        """
        noise = base.forward_process
        if settings.zero_terminal_snr:
            if not isinstance(noise, DiscreteDiffusion):
                raise InputError(
                    "Argument `zero_terminal_snr` is for bases with a schedule of betas; a flow-matching base ends at "
                    "pure noise by itself and needs False, but got True."
                )
            noise = noise.zero_terminal_snr()
        if settings.min_snr is not None:  # so that it is refused now and not at the first step
            noise.min_snr_weight(torch.zeros(1, dtype=torch.long), settings.min_snr)
        return cls(noise, settings)

    def noisy_latents(self, batch: Batch) -> Float[Tensor, "batch channels rows columns"]:
        """What the base is shown."""
        return self.forward_process.add_noise(batch.latents, batch.noise, batch.timesteps)

    def __call__(
        self, prediction: Float[Tensor, "batch channels rows columns"], batch: Batch
    ) -> Float[Tensor, " batch"]:
        """Cost of each picture, as `Batch.losses` averages it, weighted where the SNR is capped."""
        target = self.forward_process.target(batch.latents, batch.noise, batch.timesteps)
        costs = LOSS_FUNCTIONS[self.settings.loss](prediction - target, self.settings.huber_delta)
        losses = batch.image_losses(costs)
        if self.settings.min_snr is None:
            return losses
        return losses * self.forward_process.min_snr_weight(batch.timesteps, self.settings.min_snr)


def compute_losses(
    base: Base, batches: Sequence[Batch], losses: Sequence[TrainingLoss]
) -> list[Float[Tensor, " batch"]]:
    """The loss of each picture of several runs, whose batches go through the base as one.

    Args:
        base: predicts for all batches at once.
        batches: of one size, one a run.
        losses: each run's.
    """
    noisy = torch.cat([loss.noisy_latents(batch) for loss, batch in zip(losses, batches, strict=True)])
    timesteps = torch.cat([batch.timesteps for batch in batches])
    sizes = torch.cat([batch.size_conditioning for batch in batches])
    conditions = type(batches[0].conditioning).cat([batch.conditioning for batch in batches])
    predictions = base.predict(noisy, timesteps, conditions, sizes)
    parts = predictions.split([len(batch.latents) for batch in batches])
    return [loss(part, batch) for loss, part, batch in zip(losses, parts, batches, strict=True)]
