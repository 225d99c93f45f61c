"""Forward processes: the interface, and discrete-time diffusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import torch

from lycoris.bases.schedulers import is_flow_matching
from lycoris.bases.shapes import Latents, Timesteps
from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Num
    from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


@runtime_checkable
class ForwardProcess(Protocol):
    """How a base's latents are noised, and what its denoiser predicts."""

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts, as diffusers names it."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: torch.device) -> Self:
        """Read the process off a diffusers scheduler configuration.

        Raises:
            InputError: the configuration is of another kind of process.
        """

    def sample_timesteps(
        self, count: int, generator: torch.Generator, sizes: Sequence[tuple[int, int]] | None = None
    ) -> Num[Tensor, " count"]:
        """Sample training timesteps, on the CPU, from the distribution that the family's denoiser was trained on.

        Args:
            count: how many.
            generator: the random numbers.
            sizes: (width, height) of each image in pixels, where the distribution depends on it; None means the base's
                resolution.
        """

    def add_noise(self, clean: Latents, noise: Latents, timesteps: Timesteps) -> Latents:
        """Noise latents to these timesteps."""

    def target(self, clean: Latents, noise: Latents, timesteps: Timesteps) -> Latents:
        """The prediction that training aims for."""

    def min_snr_weight(self, timesteps: Timesteps, gamma: float) -> Float[Tensor, " batch"]:
        """Loss weight that caps the signal-to-noise ratio at `gamma`.

        Raises:
            InputError: the process has no such weight.
        """

    def loss_weight(self, timesteps: Timesteps, weighting: str) -> Float[Tensor, " batch"]:
        """Weight of each timestep's loss under a weighting of flow matching.

        Raises:
            InputError: the process has no such weight.
        """

    def noise_level(self, timesteps: Timesteps) -> Float[Tensor, " batch"]:
        """How near to pure noise a timestep is, in [0, 1]."""


class DiscreteDiffusion:
    """The forward process x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, with a_t the cumulative product of (1 - beta).

    Ho et al., "Denoising Diffusion Probabilistic Models", eq. 4; v-prediction after Salimans & Ho,
    "Progressive Distillation for Fast Sampling of Diffusion Models", appendix D.

    Args:
        alphas_cumprod: a_t for each discrete timestep, decreasing.
        prediction_type: what the denoiser predicts: ``epsilon`` (e), ``v_prediction``
            (sqrt(a) e - sqrt(1 - a) x_0) or ``sample`` (x_0).

    Raises:
        InputError: the prediction type is unknown, or is ``epsilon`` although the last timestep is pure noise
            (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.2).
    """

    def __init__(self, alphas_cumprod: Float[Tensor, " times"], prediction_type: str) -> None:
        if prediction_type not in PREDICTION_TYPES:
            raise InputError(
                f"Setting `prediction_type` of the scheduler must be one of {', '.join(PREDICTION_TYPES)}, "
                f"but got {prediction_type!r}."
            )
        if prediction_type == "epsilon" and alphas_cumprod[-1] <= 0:
            raise InputError(
                "Setting `rescale_betas_zero_snr` of the scheduler needs `v_prediction` or `sample`: at pure noise "
                "the noise contains no information about the image; but `prediction_type` is 'epsilon'."
            )
        self.alphas_cumprod = alphas_cumprod.float()
        self.prediction_type = prediction_type
        self._signal = self.alphas_cumprod.sqrt()[:, None, None, None]
        self._noise = (1 - self.alphas_cumprod).sqrt()[:, None, None, None]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: torch.device) -> DiscreteDiffusion:
        """Read the schedule off a diffusers scheduler configuration.

        Raises:
            InputError: it is a flow-matching scheduler, or has an unknown prediction type.
        """
        from diffusers import DDIMScheduler

        if is_flow_matching(config):
            raise InputError(
                f"The scheduler of this base must have a schedule of betas, but is {config['_class_name']}."
            )
        schedule = DDIMScheduler.from_config(dict(config))
        return cls(schedule.alphas_cumprod.to(device), schedule.config.prediction_type)

    def zero_terminal_snr(self) -> DiscreteDiffusion:
        """Rescale the schedule so that the last timestep is pure noise.

        sqrt(a_t) is shifted to end at 0 and scaled to start where it did. Lin et al., "Common Diffusion Noise Schedules
        and Sample Steps are Flawed", algorithm 1.

        Raises:
            InputError: the denoiser predicts the noise, which at pure noise contains no information about the image
                (section 3.2).
        """
        if self.prediction_type == "epsilon":
            raise InputError(
                "Argument `zero_terminal_snr` needs a base that predicts `v_prediction` or `sample`, "
                "but its scheduler's `prediction_type` is 'epsilon'."
            )
        roots = self.alphas_cumprod.double().sqrt()
        stretched = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        return DiscreteDiffusion(stretched.square(), self.prediction_type)

    @property
    def num_timesteps(self) -> int:
        """Number of discrete timesteps."""
        return len(self.alphas_cumprod)

    def sample_timesteps(
        self, count: int, generator: torch.Generator, sizes: Sequence[tuple[int, int]] | None = None
    ) -> Int[Tensor, " count"]:
        """Sample training timesteps uniformly, on the CPU; the images' sizes do not matter."""
        return torch.randint(self.num_timesteps, (count,), generator=generator)

    def add_noise(self, clean: Latents, noise: Latents, timesteps: Int[Tensor, " batch"]) -> Latents:
        """Noise latents to these timesteps."""
        return self._signal[timesteps] * clean + self._noise[timesteps] * noise

    def target(self, clean: Latents, noise: Latents, timesteps: Int[Tensor, " batch"]) -> Latents:
        """The noise, the velocity or the clean latents, by prediction type."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return clean
        return self._signal[timesteps] * noise - self._noise[timesteps] * clean

    def min_snr_weight(self, timesteps: Int[Tensor, " batch"], gamma: float) -> Float[Tensor, " batch"]:
        """Loss weight that caps the signal-to-noise ratio at `gamma`.

        In terms of x_0 the weight is min(snr, gamma); it is divided by snr for epsilon and by snr + 1 for v.
        Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", section 3.4.
        """
        signal = self.alphas_cumprod[timesteps]
        snr = signal / (1 - signal)
        capped = snr.clamp(max=gamma)
        if self.prediction_type == "epsilon":
            return torch.where(snr > 0, capped / snr, torch.ones_like(snr))
        return capped / (snr + 1) if self.prediction_type == "v_prediction" else capped

    def loss_weight(self, timesteps: Int[Tensor, " batch"], weighting: str) -> Float[Tensor, " batch"]:
        """Discrete diffusion has no such weight.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"Argument `loss_weighting` is for flow-matching bases; this one predicts {self.prediction_type} and needs "
            f"None, but got {weighting!r}."
        )

    def noise_level(self, timesteps: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The timestep divided by the last one, in [0, 1]."""
        return timesteps / max(1, self.num_timesteps - 1)
