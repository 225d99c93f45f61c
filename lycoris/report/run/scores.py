"""The measures of a study: which ones its scores have, which leads a dimension, and what a difference shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from lycoris.analysis.text.formatting import decimal_places, order_key
from lycoris.metrics.score import ScoreRecord, is_too_small
from lycoris.report.run.schema import MetricRecord, StudyRecord
from lycoris.terms import DIMENSIONS, HEADLINE_SCORES, REPORTED_PROMPT_TYPES, Verdict

HEADLINE_PROMPT_TYPES = {dimension: score.split("/")[1] for dimension, score in HEADLINE_SCORES.items()}
"""Dimension -> the prompt type that says most about it."""


@dataclass(frozen=True)
class ReportedMeasure:
    """A score name taken apart, and how its values are shown.

    Attributes:
        name: ``<metric>/<prompt type>/<encoder>``.
        metric: the first part of the name.
        prompt_type: the second part.
        encoder: the rest.
        dimension: what it measures; ``"other"`` where the study does not say.
        higher_is_better: its direction; None where the study does not say.
        digits: the decimals to print; None for scientific notation.
        from_base: whether it is a distance from the base's own images. The base's value is then 0 by definition, and
            there is no difference to compare.
        about: one sentence for readers.
    """

    name: str
    metric: str
    prompt_type: str
    encoder: str
    dimension: str
    higher_is_better: bool | None
    digits: int | None
    from_base: bool
    about: str


def reported_measures(study: StudyRecord) -> list[ReportedMeasure]:
    """All measures of a study, by dimension, metric, prompt type and encoder."""
    metrics = study.get("metrics") or {}
    scores: dict[str, list[ScoreRecord]] = {}
    for adapter in study.get("adapters") or []:
        for name, score in (adapter.get("scores") or {}).items():
            scores.setdefault(name, []).append(score)

    def position(measure: ReportedMeasure) -> tuple[Any, ...]:
        return (
            order_key(DIMENSIONS, measure.dimension),
            order_key(metrics, measure.metric),
            order_key(REPORTED_PROMPT_TYPES, measure.prompt_type),
            measure.encoder,
        )

    measures = [_measure(name, own, metrics.get(name.partition("/")[0]) or {}) for name, own in scores.items()]
    return sorted(measures, key=position)


def _measure(name: str, scores: list[ScoreRecord], metric: MetricRecord) -> ReportedMeasure:
    """A measure, described by its metric or, where the study does not describe that, by the first score."""
    parts = [*name.split("/", 2), "", ""]
    dimension = metric.get("dimension", scores[0].get("dimension"))
    higher_is_better = metric.get("higher_is_better", scores[0].get("higher_is_better"))
    return ReportedMeasure(
        name,
        metric=parts[0],
        prompt_type=parts[1],
        encoder=parts[2],
        dimension=dimension or "other",
        higher_is_better=higher_is_better,
        digits=decimal_places(value for score in scores for value in (score.get("value"), score.get("base"))),
        from_base=dimension == "preservation"
        and higher_is_better is False
        and not any(score.get("base") for score in scores),
        about=metric.get("about") or "",
    )


def headline_measures(measures: Iterable[ReportedMeasure], present: Iterable[str]) -> dict[str, ReportedMeasure]:
    """The measure that stands for each dimension: its first metric, if possible on its headline prompt type.

    Args:
        measures: in the order of :func:`reported_measures`.
        present: the names to choose from.
    """
    names = set(present)
    headlines: dict[str, ReportedMeasure] = {}
    for measure in measures:
        if measure.name not in names:
            continue
        preferred = HEADLINE_PROMPT_TYPES.get(measure.dimension)
        first = headlines.get(measure.dimension)
        if first is None or (
            first.metric == measure.metric and first.prompt_type != preferred and measure.prompt_type == preferred
        ):
            headlines[measure.dimension] = measure
    return headlines


class ScoreEffect(NamedTuple):
    """The effect of an adapter on a measure: the difference to the base, or the distance from it."""

    value: float | None
    low: float | None
    high: float | None


def score_effect(score: ScoreRecord, measure: ReportedMeasure) -> ScoreEffect:
    """The number by which adapters are compared on a measure, with its interval."""
    if measure.from_base:
        return ScoreEffect(score.get("value"), score.get("low"), score.get("high"))
    return ScoreEffect(score.get("difference"), score.get("difference_low"), score.get("difference_high"))


def score_verdict(score: ScoreRecord, measure: ReportedMeasure) -> Verdict:
    """Whether a difference to the base is shown, that is, whether its interval excludes 0, and whether it matters."""
    _, low, high = score_effect(score, measure)
    if measure.from_base or low is None or high is None or measure.higher_is_better is None:
        return "unknown"
    if low <= 0.0 <= high:
        return "none"
    if is_too_small({**score, "name": measure.name}):
        return "small"
    return "better" if (low > 0.0) == measure.higher_is_better else "worse"


def is_gain(effect: ScoreEffect, measure: ReportedMeasure) -> bool:
    """Whether a difference to the base points in the direction that is better, shown or not."""
    return effect.value is not None and (effect.value < 0 if measure.higher_is_better is False else effect.value > 0)


def intervals_overlap(one: ScoreEffect, other: ScoreEffect) -> bool:
    """Whether two intervals share a point; True when one of them is missing."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return True
    return one.low <= other.high and other.low <= one.high
