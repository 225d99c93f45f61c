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
ONE_CYCLE = "one-cycle"
"""The schedule that has no warm-up but a rise of its own."""
ONE_CYCLE_RISE, ONE_CYCLE_INITIAL, ONE_CYCLE_FINAL = 0.3, 1 / 25, 1e-4
"""Of the one cycle: its rise, as a part of the run; its first rate, of the top; its last, of the first."""


def lr_scale(schedule: str, step: int, steps: int, warmup_steps: int, cycles: int = 1) -> float:
    """Fraction of the top rate to use at a step.

    Args:
        schedule: a key of `SCHEDULES`, or `ONE_CYCLE`.
        step: counted from 0.
        steps: of the whole run.
        warmup_steps: over which the fraction rises linearly; the last of them has 1. The one cycle rises as long,
            and for 0 as long as by default.
        cycles: times that the schedule behind the warm-up is run through, each from the top (Loshchilov & Hutter,
            "SGDR", with cycles of one length).

    Returns:
        A number in [0, 1].
    """
    if schedule == ONE_CYCLE:
        return _one_cycle(step, steps, (warmup_steps or ONE_CYCLE_RISE * steps) - 1)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    length = max(1, steps - warmup_steps)
    return SCHEDULES[schedule]((step - warmup_steps) * cycles % length / length)


def _one_cycle(step: int, steps: int, peak_step: float) -> float:
    """Half a cosine up to the step `top` and half a cosine down to the last one, as torch's `OneCycleLR`.

    Smith & Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates".
    """
    if step <= peak_step:
        return 1 + (ONE_CYCLE_INITIAL - 1) * cosine(step / peak_step if peak_step else 1)
    last = ONE_CYCLE_INITIAL * ONE_CYCLE_FINAL
    return last + (1 - last) * cosine((step - peak_step) / (steps - 1 - peak_step))
