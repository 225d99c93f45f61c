"""When a run is given up: its loss is no number, or has left its own level for good."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.training.config import TrainingSettings

DIVERGENCE_STEPS, DIVERGENCE_FACTOR = 20, 10.0
"""A run has left its level when each of so many steps' losses is so many times the median of all before."""


class TrainingDivergedError(InputError):
    """The loss or its gradient stopped being a number, or stays far above its own level.

    Attributes:
        losses: of the steps before, the last one included.
    """

    def __init__(self, losses: list[float], settings: TrainingSettings) -> None:
        advice = f"Lower `learning_rate` (now {settings.learning_rate:g})"
        if settings.clip_norm is None:
            advice += ", set `clip_norm` to 1"
        if not settings.warmup_steps:
            advice += ", give some `warmup_steps`"
        what = f"its loss is {losses[-1]}"
        if math.isfinite(losses[-1]):
            what = f"its loss, {losses[-1]:.3g}, has been {DIVERGENCE_FACTOR:g} times its usual one for {DIVERGENCE_STEPS} steps"  # noqa: E501
        super().__init__(f"The training diverged at step {len(losses)}: {what}. {advice}.")
        self.losses, self.settings = losses, settings

    def __reduce__(self) -> tuple[type, tuple[list[float], TrainingSettings]]:
        """Errors cross from worker processes to the one that reports them."""
        return type(self), (self.losses, self.settings)


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last steps, all of them, lie far above those before.

    Looked at once in `STEPS` steps. A loss swings with the times it is drawn at, so that one high step, or several,
    say nothing: of a run that learns, even a tenth of the steps so high would make 20 in a row once in 10^20.
    """
    if len(losses) < 2 * DIVERGENCE_STEPS or len(losses) % DIVERGENCE_STEPS:
        return False
    return min(losses[-DIVERGENCE_STEPS:]) > DIVERGENCE_FACTOR * statistics.median(losses[:-DIVERGENCE_STEPS]) > 0


def is_spike(losses: Sequence[float]) -> bool:
    """Whether the last loss lies far above those before: perhaps the first of those that `has_left` sees."""
    return len(losses) >= 2 * DIVERGENCE_STEPS and losses[-1] > DIVERGENCE_FACTOR * statistics.median(losses[:-1])
