"""Loss curves thinned to what a plot can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

MAX_POINTS = 200


def thin_curve(losses: Sequence[float | None], points: int = MAX_POINTS) -> dict[str, list[float | None]]:
    """A loss curve as drawn: every n-th value as it was, and a centred mean over a tenth of the run.

    Args:
        losses: one loss a step; a loss that is not finite is left out.
        points: at most so many points are kept, and the last step.

    Returns:
        ``steps`` (counted from 1), ``raw`` and ``smooth``, all of one length.
    """
    kept = [value if value is not None and math.isfinite(value) else None for value in losses]
    total = [0.0, *accumulate(value or 0.0 for value in kept)]
    count = [0, *accumulate(int(value is not None) for value in kept)]
    reach = max(2, len(kept) // 20)
    stride = max(1, math.ceil(len(kept) / points))
    places = sorted({*range(0, len(kept), stride), max(0, len(kept) - 1)} if kept else set())

    def mean(place: int) -> float | None:
        start, stop = max(0, place - reach), min(len(kept), place + reach + 1)
        finite = count[stop] - count[start]
        return _rounded((total[stop] - total[start]) / finite) if finite else None

    return {
        "steps": [place + 1 for place in places],
        "raw": [_rounded(kept[place]) for place in places],
        "smooth": [mean(place) for place in places],
    }


def final_loss_by_bin(losses_by_bin: Mapping[str, Sequence[float | None]]) -> list[float | None]:
    """Mean loss of each band over the last tenth of the run, from the least noise to the most."""
    found: list[float | None] = []
    for losses in losses_by_bin.values():
        last = [loss for loss in losses[-max(1, len(losses) // 10) :] if loss is not None and math.isfinite(loss)]
        found.append(_rounded(sum(last) / len(last)) if last else None)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
