"""Flow matching: latents on the straight line to noise, with the line's direction as the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.flow_schedule import linear_log_shift, shift_factor
from lycoris.bases.schedulers import is_flow_matching
from lycoris.bases.shapes import Latents
from lycoris.bases.timestep_densities import DENSITIES
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LOSS_WEIGHTINGS = ("sigma_sqrt", "cosmap")
"""Weights of a time's loss; the names are those of diffusers' `compute_loss_weighting_for_sd3`."""
MIN_NOISE = 1e-3
"""Noise below which `sigma_sqrt` gives no more weight: it is the inverse square of the noise, and infinite at 0."""


@dataclass(frozen=True)
class FlowMatching:
    """The forward process x_s = (1 - s) x_0 + s e; the denoiser predicts the velocity e - x_0.

    Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", eq. 2 and section 3.1.
    A timestep is s in units of 1 / num_timesteps.

    Args:
        num_timesteps: the timestep at which s = 1.
        shift: shifts the sampled times towards noise, s' = shift s / (1 + (shift - 1) s); section 5.3.2.
        shift_by_size: the scheduler's configuration where its shift follows the image size; it then replaces `shift`.
        density: a key of `DENSITIES`, of the times before their shift.
        density_options: its options.
        pixels_per_token: side of the square of pixels that is one token of the denoiser.
        resolution: side of the square images that the base was trained on, for times of images of no stated size.

    Raises:
        InputError: `num_timesteps` or `shift` is not positive.
    """

    num_timesteps: int = 1000
    shift: float = 1.0
    shift_by_size: Mapping[str, Any] | None = None
    density: str = "logit-normal"
    density_options: Mapping[str, float] = field(default_factory=dict)
    pixels_per_token: int = 16
    resolution: int = 1024

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts."""
        return "flow"

    def __post_init__(self) -> None:
        for name, value in {"num_train_timesteps": self.num_timesteps, "shift": self.shift}.items():
            if not value > 0:
                raise InputError(f"Setting `{name}` of the scheduler must be positive, but got {value!r}.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: torch.device | None = None) -> FlowMatching:
        """Read the process off a diffusers scheduler configuration.

        Args:
            config: the scheduler's configuration.
            device: unused, since the process has no tables; taken for the sake of `ForwardProcess`.

        Raises:
            InputError: it is not a flow-matching scheduler.
        """
        if not is_flow_matching(config):
            raise InputError(
                f"The scheduler of a flow-matching base must be a FlowMatch one, but is {config.get('_class_name')}."
            )
        by_size = dict(config) if config.get("use_dynamic_shifting") else None
        shift = config.get("shift", config.get("flow_shift", 1.0))
        return cls(config.get("num_train_timesteps", 1000), 1.0 if by_size else shift, by_size)

    def with_sizes(self, pixels_per_token: int, resolution: int) -> FlowMatching:
        """The process of a base with these sizes; see `FlowMatching`."""
        return dataclasses.replace(self, pixels_per_token=pixels_per_token, resolution=resolution)

    def with_times(self, density: str | None, options: Mapping[str, float], shift: float | None) -> FlowMatching:
        """The process with another density or another shift of its training times; None leaves them as they are."""
        changes: dict[str, Any] = {}
        if density is not None:
            changes |= {"density": density, "density_options": options}
        if shift is not None:
            changes |= {"shift": shift, "shift_by_size": None}
        return dataclasses.replace(self, **changes)

    def sample_timesteps(
        self, count: int, generator: torch.Generator, sizes: Sequence[tuple[int, int]] | None = None
    ) -> Float[Tensor, " count"]:
        """Sample training timesteps, on the CPU: the density, shifted; eq. 19 and 23.

        Args:
            count: how many.
            generator: the random numbers.
            sizes: (width, height) of each image in pixels; None means the base's resolution.
        """
        fraction = DENSITIES[self.density](count, generator, **self.density_options)
        shift: float | Tensor = self.shift
        if self.shift_by_size is not None:
            shift = torch.tensor([self._shift(size) for size in sizes or [(self.resolution, self.resolution)] * count])
        return self.num_timesteps * shift * fraction / (1 + (shift - 1) * fraction)

    def add_noise(self, clean: Latents, noise: Latents, timesteps: Float[Tensor, " batch"]) -> Latents:
        """Noise latents to these timesteps."""
        return torch.lerp(clean, noise, self.noise_level(timesteps)[:, None, None, None])

    def target(self, clean: Latents, noise: Latents, timesteps: Float[Tensor, " batch"]) -> Latents:
        """The velocity, the same at every timestep."""
        return noise - clean

    def min_snr_weight(self, timesteps: Float[Tensor, " batch"], gamma: float) -> Float[Tensor, " batch"]:
        """Flow matching has no such weight.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"Argument `min_snr` is for bases that predict noise; a flow-matching base needs None, but got {gamma:g}."
        )

    def loss_weight(self, timesteps: Float[Tensor, " batch"], weighting: str) -> Float[Tensor, " batch"]:
        """Weight of each timestep's loss; Esser et al., section 3.1.

        Args:
            timesteps: one per latent.
            weighting: ``"sigma_sqrt"`` for s^-2, at most its value at `MIN_NOISE`; ``"cosmap"`` for
                2 / (pi (1 - 2 s + 2 s^2)).

        Raises:
            InputError: there is no such weighting.
        """
        from diffusers.training_utils import compute_loss_weighting_for_sd3

        if weighting not in LOSS_WEIGHTINGS:
            raise unknown_name_error("loss_weighting", weighting, LOSS_WEIGHTINGS)
        return compute_loss_weighting_for_sd3(weighting, self.noise_level(timesteps).clamp(min=MIN_NOISE))

    def noise_level(self, timesteps: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The fraction s of noise, in [0, 1]."""
        return timesteps / self.num_timesteps

    def _shift(self, size: tuple[int, int]) -> float:
        tokens = (size[0] // self.pixels_per_token) * (size[1] // self.pixels_per_token)
        config = self.shift_by_size or {}
        return shift_factor(config, linear_log_shift(config, tokens))
