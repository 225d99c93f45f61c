"""Scores under several resize modes: which metrics are computed in each, and how their scores are named.

Bases generate squares, which every mode brings to an encoder unchanged. The modes therefore differ only in how the
dataset's images are encoded, and only metrics that use those are computed in every mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lycoris.metrics.registry import METRICS
from lycoris.metrics.score import Score


def label_with_mode(label: str, mode: str, modes: Sequence[str]) -> str:
    """The label of a step in one mode; unchanged where ``resize`` is the only mode."""
    return label if tuple(modes) == ("resize",) else f"{label} · {mode}"


def metrics_in_mode(mode: str, modes: Sequence[str]) -> list[str] | None:
    """The metrics that are computed in a mode: all by default in the first, those that use the dataset in the others.

    Returns:
        Their names; None for all that are computed by default.
    """
    if mode == modes[0]:
        return None
    return [name for name, metric in METRICS.items() if metric.by_default and "references" in metric.inputs]


def merge_modes(scores: Mapping[str, Sequence[Score]]) -> list[Score]:
    """The scores of one adapter in all modes.

    Args:
        scores: mode -> scores, in the order of the experiment.

    Returns:
        The scores unchanged if ``resize`` is the only mode. Otherwise the name of a score that uses the dataset ends in
        the mode, ``dinov2-padding``, as in the tables of arXiv 2309.14859.
    """
    if tuple(scores) == ("resize",):
        return list(scores["resize"])

    def rename(score: Score, mode: str) -> Score:
        uses_dataset = "references" in METRICS[score.name.partition("/")[0]].inputs
        return replace(score, name=f"{score.name}-{mode}") if uses_dataset else score

    return [rename(score, mode) for mode, some in scores.items() for score in some]
