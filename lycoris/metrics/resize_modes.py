"""Scores under several resize modes: what is computed in each, and what it is called.

Bases draw squares, which every mode brings to an encoder alike. So the modes differ in how the dataset's pictures are
seen, and only metrics that look at those are computed once a mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lycoris.cache.store import stage_key
from tasks.score import Scores


def label_with_mode(label: str, mode: str, modes: Sequence[str]) -> str:
    """What the user reads of a step in one mode; the label alone where the mode was not chosen."""
    return label if tuple(modes) == ("resize",) else f"{label} · {mode}"


def metrics_in_mode(mode: str, modes: Sequence[str]) -> list[str] | None:
    """The metrics that are computed in a mode: all by default in the first, those that see the dataset in the others.

    Returns:
        Their names; None for all that are computed by default.
    """
    from lycoris.metrics import METRICS

    if mode == modes[0]:
        return None
    return [name for name, metric in METRICS.items() if metric.by_default and "references" in metric.inputs]


def merge_modes(scores: Mapping[str, Scores]) -> Scores:
    """The scores of one adapter in all modes.

    Args:
        scored: mode -> scores; in the order of the experiment.

    Returns:
        The scores as they are where the mode is ``resize`` alone. Otherwise a score that sees the dataset names its
        encoder with the mode, ``dinov2-padding``, as the tables of arXiv 2309.14859 do.
    """
    from lycoris.metrics import METRICS

    if tuple(scores) == ("resize",):
        return scores["resize"]

    def renamed(record: dict[str, Any], mode: str) -> dict[str, Any]:
        sees_dataset = "references" in METRICS[record["name"].partition("/")[0]].inputs
        return {**record, "name": f"{record['name']}-{mode}"} if sees_dataset else record

    records = [renamed(record, mode) for mode, one in scores.items() for record in one.records]
    first = next(iter(scores.values()))
    return replace(
        first,
        key=stage_key("scores", {mode: one.key for mode, one in scores.items()}),
        records=records,
        cached=all(one.cached for one in scores.values()),
    )
