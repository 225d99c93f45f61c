"""Learning-rate schedules: the scale of the base learning rate, as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """The base learning rate throughout."""
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine, from 1 to 0 (Loshchilov & Hutter, "SGDR", without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """A straight line, from 1 to 0."""
    return 1 - progress


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "cosine": cosine, "linear": linear}
"""Maps the completed fraction of the run after the warm-up, in [0, 1), to a scale of the learning rate."""
ONE_CYCLE = "one-cycle"
"""The schedule that has a rise of its own instead of a warm-up."""
ONE_CYCLE_RISE, ONE_CYCLE_INITIAL, ONE_CYCLE_FINAL = 0.3, 1 / 25, 1e-4
"""One cycle: the fraction of the run that rises, the initial scale, and the final scale relative to the initial."""


def lr_scale(schedule: str, step: int, steps: int, warmup_steps: int, cycles: int = 1) -> float:
    """Compute the scale of the base learning rate at a step.

    Args:
        schedule: a key of `SCHEDULES`, or `ONE_CYCLE`.
        step: counted from 0.
        steps: steps of the whole run.
        warmup_steps: steps over which the scale rises linearly to 1. For one cycle the length of its rise, with 0 for
            the default length.
        cycles: times that the schedule after the warm-up repeats, each time from the top (Loshchilov & Hutter, "SGDR",
            with cycles of equal length).

    Returns:
        A scale in [0, 1].
    """
    if schedule == ONE_CYCLE:
        return _one_cycle(step, steps, (warmup_steps or ONE_CYCLE_RISE * steps) - 1)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    length = max(1, steps - warmup_steps)
    return SCHEDULES[schedule]((step - warmup_steps) * cycles % length / length)


def _one_cycle(step: int, steps: int, peak_step: float) -> float:
    """Half a cosine up to `peak_step` and half a cosine down to the last step, as torch's `OneCycleLR`.

    Smith & Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates".
    """
    if step <= peak_step:
        return 1 + (ONE_CYCLE_INITIAL - 1) * cosine(step / peak_step if peak_step else 1)
    last = ONE_CYCLE_INITIAL * ONE_CYCLE_FINAL
    return last + (1 - last) * cosine((step - peak_step) / (steps - 1 - peak_step))
