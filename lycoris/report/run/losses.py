"""Loss curves with as many points as a plot can show, and the final loss by timestep bin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

MAX_POINTS = 200
"""The most points of one curve."""


def thin_curve(losses: Sequence[float | None], points: int = MAX_POINTS) -> dict[str, list[float | None]]:
    """A loss curve for a plot: every n-th value, and a centered mean over a tenth of the run.

    Args:
        losses: one loss per step; a loss that is not finite is left out.
        points: the most points, besides the last step.

    Returns:
        ``steps`` (counted from 1), ``raw`` and ``smooth``, all of one length.
    """
    finite_losses = [value if value is not None and math.isfinite(value) else None for value in losses]
    total = [0.0, *accumulate(value or 0.0 for value in finite_losses)]
    count = [0, *accumulate(int(value is not None) for value in finite_losses)]
    half_window = max(2, len(finite_losses) // 20)
    stride = max(1, math.ceil(len(finite_losses) / points))
    indices = sorted(
        {*range(0, len(finite_losses), stride), max(0, len(finite_losses) - 1)} if finite_losses else set()
    )

    def mean(index: int) -> float | None:
        start, stop = max(0, index - half_window), min(len(finite_losses), index + half_window + 1)
        known = count[stop] - count[start]
        return _rounded((total[stop] - total[start]) / known) if known else None

    return {
        "steps": [index + 1 for index in indices],
        "raw": [_rounded(finite_losses[index]) for index in indices],
        "smooth": [mean(index) for index in indices],
    }


def final_loss_by_bin(losses_by_bin: Mapping[str, Sequence[float | None]]) -> list[float | None]:
    """Mean loss of each timestep bin over the last tenth of the run, from the least noise to the most."""
    means: list[float | None] = []
    for losses in losses_by_bin.values():
        last = [loss for loss in losses[-max(1, len(losses) // 10) :] if loss is not None and math.isfinite(loss)]
        means.append(_rounded(sum(last) / len(last)) if last else None)
    return means


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
