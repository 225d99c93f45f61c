"""Flow matching: latents on the straight line to noise, with the line's direction as the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.schedulers import is_flow_matching
from lycoris.bases.shapes import Latents
from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class FlowMatching:
    """The forward process x_s = (1 - s) x_0 + s e; the denoiser predicts the velocity e - x_0.

    Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", eq. 2 and section 3.1.
    A timestep is s in units of 1 / num_timesteps.

    Args:
        num_timesteps: the timestep at which s = 1.
        shift: shifts the sampled times towards noise, s' = shift s / (1 + (shift - 1) s); section 5.3.2.

    Raises:
        InputError: `num_timesteps` or `shift` is not positive.
    """

    prediction_type = "flow"

    def __init__(self, num_timesteps: int = 1000, shift: float = 1.0) -> None:
        for name, value in {"num_train_timesteps": num_timesteps, "shift": shift}.items():
            if not value > 0:
                raise InputError(f"Setting `{name}` of the scheduler must be positive, but got {value!r}.")
        self.num_timesteps, self.shift = num_timesteps, shift

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: torch.device | None = None) -> FlowMatching:
        """Read the process off a diffusers scheduler configuration.

        Args:
            config: the scheduler's configuration.
            device: unused, since the process has no tables; taken for the sake of `ForwardProcess`.

        Raises:
            InputError: it is not a flow-matching scheduler, or its shift depends on the image size.
        """
        if not is_flow_matching(config):
            raise InputError(
                f"The scheduler of a flow-matching base must be a FlowMatch one, but is {config.get('_class_name')}."
            )
        if config.get("use_dynamic_shifting"):
            raise InputError("Setting `use_dynamic_shifting` of the scheduler must be false, but is true.")
        return cls(config.get("num_train_timesteps", 1000), config.get("shift", 1.0))

    def sample_timesteps(self, count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
        """Sample training timesteps, on the CPU: the logistic function of normal numbers, shifted; eq. 19 and 23."""
        fraction = torch.randn(count, generator=generator).sigmoid()
        return self.num_timesteps * self.shift * fraction / (1 + (self.shift - 1) * fraction)

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

    def noise_level(self, timesteps: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The fraction s of noise, in [0, 1]."""
        return timesteps / self.num_timesteps
