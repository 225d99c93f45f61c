"""Discrete-time diffusion: how a latent is noised and what the denoiser is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")


class DiscreteNoise:
    """The forward process x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, with a_t the product of (1 - beta).

    Ho et al., "Denoising Diffusion Probabilistic Models", eq. 4; v-prediction after Salimans & Ho,
    "Progressive Distillation for Fast Sampling of Diffusion Models", appendix D.

    Args:
        alphas_cumprod: a_t for each of the discrete times, falling.
        prediction_type: what the denoiser predicts: ``epsilon`` (e), ``v_prediction``
            (sqrt(a) e - sqrt(1 - a) x_0) or ``sample`` (x_0).

    Raises:
        InputError: the prediction type is none of these.
    """

    def __init__(self, alphas_cumprod: Float[Tensor, " times"], prediction_type: str) -> None:
        if prediction_type not in PREDICTIONS:
            raise InputError(
                f"Setting `prediction_type` of the scheduler must be one of {', '.join(PREDICTIONS)}, "
                f"but got {prediction_type!r}."
            )
        self.alphas_cumprod = alphas_cumprod.float()
        self.prediction_type = prediction_type
        self._signal = self.alphas_cumprod.sqrt()[:, None, None, None]
        self._noise = (1 - self.alphas_cumprod).sqrt()[:, None, None, None]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: torch.device) -> DiscreteNoise:
        """The schedule that a diffusers scheduler configuration states."""
        from diffusers import DDIMScheduler

        schedule = DDIMScheduler.from_config(dict(config))
        return cls(schedule.alphas_cumprod.to(device), schedule.config.prediction_type)

    @property
    def times(self) -> int:
        """Number of discrete times."""
        return len(self.alphas_cumprod)

    def mix(
        self, clean: Float[Tensor, "b c h w"], noise: Float[Tensor, "b c h w"], timesteps: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """Noisy latents at the given times."""
        return self._signal[timesteps] * clean + self._noise[timesteps] * noise

    def target(
        self, clean: Float[Tensor, "b c h w"], noise: Float[Tensor, "b c h w"], timesteps: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """What the denoiser should have said."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return clean
        return self._signal[timesteps] * noise - self._noise[timesteps] * clean

    def min_snr_weight(self, timesteps: Int[Tensor, " b"], gamma: float) -> Float[Tensor, " b"]:
        """Loss weight that caps the signal-to-noise ratio at gamma.

        In terms of x_0 the weight is min(snr, gamma); it is divided by snr for epsilon and by snr + 1 for v.
        Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", section 3.4.
        """
        signal = self.alphas_cumprod[timesteps]
        snr = signal / (1 - signal)
        capped = snr.clamp(max=gamma)
        if self.prediction_type == "epsilon":
            return torch.where(snr > 0, capped / snr, torch.ones_like(snr))
        return capped / (snr + 1) if self.prediction_type == "v_prediction" else capped
