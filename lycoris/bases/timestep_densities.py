"""Densities of the times that a flow-matching training sees, before their shift."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def uniform(count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Uniform in [0, 1)."""
    return _of_diffusers("none", count, generator)


def logit_normal(
    count: int, generator: torch.Generator, *, mean: float = 0.0, std: float = 1.0
) -> Float[Tensor, " count"]:
    """The logistic function of normal numbers; Esser et al., arXiv 2403.03206, eq. 19."""
    return _of_diffusers("logit_normal", count, generator, logit_mean=mean, logit_std=std)


def mode(count: int, generator: torch.Generator, *, scale: float = 1.29) -> Float[Tensor, " count"]:
    """More of the middle (scale above 0) or of the ends (below 0); Esser et al., arXiv 2403.03206, eq. 20."""
    return _of_diffusers("mode", count, generator, mode_scale=scale)


def beta(count: int, generator: torch.Generator, *, alpha: float = 0.6, beta: float = 0.6) -> Float[Tensor, " count"]:
    """The beta distribution, by its inverse; the defaults are those of diffusers' beta schedule, arXiv 2407.12173."""
    from scipy.stats import beta as distribution

    fractions = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.from_numpy(distribution.ppf(fractions.numpy(), alpha, beta)).float()


def sigmoid(count: int, generator: torch.Generator, *, scale: float = 1.0) -> Float[Tensor, " count"]:
    """The logistic function of normal numbers times a scale, as sd-scripts and ai-toolkit name it."""
    return (scale * torch.randn(count, generator=generator)).sigmoid()


DENSITIES: dict[str, Callable[..., Tensor]] = {
    "uniform": uniform,
    "logit-normal": logit_normal,
    "mode": mode,
    "beta": beta,
    "sigmoid": sigmoid,
}
"""Densities by name: (count, generator, **options) → times in [0, 1], where 1 is pure noise."""
POSITIVE_OPTIONS = ("std", "alpha", "beta")


def check_density(name: str, options: Mapping[str, Any]) -> None:
    """Check the name of a density and its options.

    Raises:
        InputError: there is no such density or option, or a value is out of range.
    """
    if name not in DENSITIES:
        raise unknown_name_error("timestep_density", name, DENSITIES)
    accepted = [key for key in inspect.signature(DENSITIES[name]).parameters if key not in ("count", "generator")]
    for key, value in options.items():
        if key not in accepted:
            has = f"has {', '.join(f'`{one}`' for one in accepted)}" if accepted else "has none"
            raise InputError(f"Argument `timestep_density_options` has `{key}`, but `{name}` {has}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"Option `{key}` of `timestep_density_options` must be a number, but got {value!r}.")
        if key in POSITIVE_OPTIONS and value <= 0:
            raise InputError(f"Option `{key}` of `timestep_density_options` must be above 0, but got {value!r}.")


def _of_diffusers(scheme: str, count: int, generator: torch.Generator, **options: float) -> Tensor:
    from diffusers.training_utils import compute_density_for_timestep_sampling

    return compute_density_for_timestep_sampling(scheme, count, generator=generator, **options)
