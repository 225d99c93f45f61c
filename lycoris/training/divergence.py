"""Divergence: when a run stops because its loss is not finite, or stays far above its earlier level."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.training.config import TrainingSettings

DIVERGENCE_STEPS, DIVERGENCE_FACTOR = 20, 10.0
"""A run has diverged if each of the last 20 losses is over 10 times the median of those before."""


class TrainingDivergedError(InputError):
    """The loss or its gradient is not finite, or the loss stays far above its earlier level.

    Attributes:
        losses: loss of each step, the last one included.
        settings: settings of the run.
    """

    def __init__(self, losses: list[float], settings: TrainingSettings) -> None:
        advice = f"Lower `learning_rate` (now {settings.learning_rate:g})"
        if settings.clip_norm is None:
            advice += ", set `clip_norm` to 1"
        if not settings.warmup_steps:
            advice += ", set `warmup_steps`"
        reason = f"its loss is {losses[-1]}"
        if math.isfinite(losses[-1]):
            reason = (
                f"its loss, {losses[-1]:.3g}, has been over {DIVERGENCE_FACTOR:g} times its usual level for "
                f"{DIVERGENCE_STEPS} steps"
            )
        advice += "."
        if len(losses) == 1 and not math.isfinite(losses[0]):
            advice = (
                "No weight has changed yet, so the learning rate is not the cause: a VAE or text encoder overflows in "
                "half precision (open the base in float32), or an image or caption of this step is at fault."
            )
        super().__init__(f"The training diverged at step {len(losses)}: {reason}. {advice}")
        self.losses, self.settings = losses, settings

    def __reduce__(self) -> tuple[type, tuple[list[float], TrainingSettings]]:
        """Make the error picklable, so that worker processes can return it."""
        return type(self), (self.losses, self.settings)


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the losses of the last steps are all far above those before.

    Checked once in `DIVERGENCE_STEPS` steps. A loss varies with its timesteps, so a few high ones mean nothing: even if
    a tenth of the steps of a converging run were so high, 20 in a row would occur once in 10^20.
    """
    if len(losses) < 2 * DIVERGENCE_STEPS or len(losses) % DIVERGENCE_STEPS:
        return False
    return min(losses[-DIVERGENCE_STEPS:]) > DIVERGENCE_FACTOR * statistics.median(losses[:-DIVERGENCE_STEPS]) > 0


def is_spike(losses: Sequence[float]) -> bool:
    """Whether the last loss is far above those before, perhaps the first of a divergence."""
    return len(losses) >= 2 * DIVERGENCE_STEPS and losses[-1] > DIVERGENCE_FACTOR * statistics.median(losses[:-1])
