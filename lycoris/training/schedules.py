"""Learning-rate schedules: the fraction of the top rate at each step, as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """The top rate throughout."""
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine, from 1 to 0 (Loshchilov & Hutter, "SGDR", without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """A straight line, from 1 to 0."""
    return 1 - progress


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "cosine": cosine, "linear": linear}
"""From the part of the run behind the warm-up that is done, in [0, 1), to a fraction of the rate."""


def rate_fraction(schedule: str, step: int, steps: int, warmup_steps: int) -> float:
    """Fraction of the top rate to use at a step.

    Args:
        schedule: a key of `SCHEDULES`.
        step: counted from 0.
        steps: of the whole run.
        warmup_steps: over which the fraction rises linearly; the last of them has 1.

    Returns:
        A number in [0, 1].
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return SCHEDULES[schedule]((step - warmup_steps) / max(1, steps - warmup_steps))
