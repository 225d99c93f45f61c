"""The times that a flow-matching sampler visits: where they start from, and their shift towards noise by image size."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lycoris.bases.schedulers import build_scheduler

if TYPE_CHECKING:
    import torch

BASE_TOKENS, MAX_TOKENS, BASE_SHIFT, MAX_SHIFT = 256, 4096, 0.5, 1.15
"""Defaults of diffusers' scheduler: the shift's logarithm at these numbers of image tokens."""


def linear_log_shift(config: Mapping[str, Any], tokens: int, steps: int = 0) -> float:
    """The shift's logarithm, linear in the number of image tokens, as a scheduler's configuration states it.

    Args:
        config: the scheduler's configuration.
        tokens: number of image tokens.
        steps: not used; for the sake of `FlowSchedule.log_shift`.
    """
    first, last = config.get("base_image_seq_len", BASE_TOKENS), config.get("max_image_seq_len", MAX_TOKENS)
    low, high = config.get("base_shift", BASE_SHIFT), config.get("max_shift", MAX_SHIFT)
    return low + (tokens - first) * (high - low) / (last - first)


def shift_factor(config: Mapping[str, Any], log_shift: float) -> float:
    """The factor k of s' = k s / (1 + (k - 1) s) that a scheduler shifts times with."""
    return log_shift if config.get("time_shift_type") == "linear" else math.exp(log_shift)


@dataclass(frozen=True)
class FlowSchedule:
    """How a family's pipeline sets the times of its scheduler.

    Attributes:
        even_fractions: whether the times start as the fractions 1, (n - 1) / n, ... 1 / n of n steps and not as the
            scheduler's own.
        log_shift: (scheduler's configuration, image tokens, steps) → the shift's logarithm, for schedulers that shift
            by image size.
        sigmas: (steps, image tokens) → noise levels to start from; None for even fractions or the scheduler's own.
    """

    even_fractions: bool = False
    log_shift: Callable[[Mapping[str, Any], int, int], float] = linear_log_shift
    sigmas: Callable[[int, int], list[float]] | None = None

    def set_timesteps(self, scheduler: Any, steps: int, tokens: int, device: torch.device) -> None:
        """Set a scheduler's times for images of a number of tokens."""
        accepted = inspect.signature(scheduler.set_timesteps).parameters
        arguments: dict[str, Any] = {}
        if self.even_fractions and "sigmas" in accepted:
            arguments["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        elif self.sigmas is not None and "sigmas" in accepted:
            arguments["sigmas"] = self.sigmas(steps, tokens)
        if scheduler.config.get("use_dynamic_shifting") and "mu" in accepted:
            arguments["mu"] = self.log_shift(scheduler.config, tokens, steps)
        scheduler.set_timesteps(steps, device=device, **arguments)

    def build_scheduler(self, config: Mapping[str, Any], name: str | None, steps: int, tokens: int) -> Any:
        """Build a scheduler; one that cannot shift by image size gets the shift for this number of tokens.

        Args:
            config: the schedule as the base's files state it.
            name: as for `lycoris.bases.schedulers.build_scheduler`.
            steps: steps of the sampler.
            tokens: number of image tokens.

        Raises:
            InputError: there is no such scheduler, or it does not fit the base.
        """
        scheduler = build_scheduler(config, name)
        if not config.get("use_dynamic_shifting") or "mu" in inspect.signature(scheduler.set_timesteps).parameters:
            return scheduler
        factor = shift_factor(config, self.log_shift(config, tokens, steps))
        return build_scheduler({**config, "use_dynamic_shifting": False, "shift": factor}, name)
