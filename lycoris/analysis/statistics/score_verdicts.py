"""What the scores of a study say: which ones there are, which lead a dimension, and what is separated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lycoris.terms import DIMENSIONS, HEADLINE_SCORES, REPORTED_PROMPT_TYPES, Verdict

HEADLINE_PROMPT_TYPES = {name: score.rpartition("/")[2] for name, score in HEADLINE_SCORES.items()}
"""The prompt type on which a dimension is first looked at."""


@dataclass(frozen=True)
class ScoreSpec:
    """One score name, taken apart.

    ``higher_is_better`` is None when nobody said; ``digits`` counts the decimals to print, None for a power
    of ten; ``from_base`` marks a distance from the base's own drawings, where the base has nothing to be
    compared with: it is 0 by definition.
    """

    name: str
    metric: str
    kind: str
    encoder: str
    dimension: str
    higher_is_better: bool | None
    digits: int | None
    from_base: bool
    about: str


def order_key(order: Iterable[str], name: str) -> tuple[int, str]:
    """A sorting key: the place of ``name`` in ``order``; names that are not in it come last, by alphabet."""
    places = list(order)
    return (places.index(name) if name in places else len(places), name)


def decimal_places(values: Iterable[float | None]) -> int | None:
    """How many decimals show three significant digits of the largest of ``values``; None below 1e-5."""
    top = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if top == 0.0:
        return 2
    digits = max(0, 2 - math.floor(math.log10(top)))
    return digits if digits <= 6 else None


def score_specs(study: Mapping[str, Any]) -> list[ScoreSpec]:
    """All score names of a study, by dimension, metric, prompt type and encoder."""
    metrics = study.get("metrics") or {}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for adapter in study.get("adapters") or []:
        for name, score in (adapter.get("scores") or {}).items():
            found.setdefault(name, []).append(score)

    def measure(name: str) -> ScoreSpec:
        metric, _, rest = name.partition("/")
        kind, _, encoder = rest.partition("/")
        told = {**found[name][0], **(metrics.get(metric) or {})}
        return ScoreSpec(
            name,
            metric,
            kind,
            encoder,
            told.get("dimension") or "other",
            told.get("higher_is_better"),
            decimal_places(score.get(key) for score in found[name] for key in ("value", "base")),
            told.get("dimension") == "preservation"
            and told.get("higher_is_better") is False
            and not any(score.get("base") for score in found[name]),
            told.get("about") or "",
        )

    def place(measure: ScoreSpec) -> tuple[Any, ...]:
        return (
            order_key(DIMENSIONS, measure.dimension),
            order_key(metrics, measure.metric),
            order_key(REPORTED_PROMPT_TYPES, measure.kind),
            measure.encoder,
        )

    return sorted(map(measure, found), key=place)


def headline_scores(specs: Iterable[ScoreSpec], present: Iterable[str]) -> dict[str, ScoreSpec]:
    """The score to look at first in each dimension, among those ``present``.

    It is the dimension's first metric, on the prompt type that tells most about it, in the first encoder.
    """
    names = set(present)
    first: dict[str, ScoreSpec] = {}
    for measure in specs:
        if measure.name not in names:
            continue
        wanted = HEADLINE_PROMPT_TYPES.get(measure.dimension)
        leader = first.get(measure.dimension)
        if leader is None or (leader.metric == measure.metric and leader.kind != wanted and measure.kind == wanted):
            first[measure.dimension] = measure
    return first


class ScoreEffect(NamedTuple):
    """What an adapter did to one score: the difference to the base, or the distance from it."""

    value: float | None
    low: float | None
    high: float | None


def score_effect(score: Mapping[str, Any], measure: ScoreSpec) -> ScoreEffect:
    """The number by which adapters are compared on a score, with its interval."""
    if measure.from_base:
        return ScoreEffect(score.get("value"), score.get("low"), score.get("high"))
    return ScoreEffect(score.get("difference"), score.get("difference_low"), score.get("difference_high"))


def score_verdict(score: Mapping[str, Any], measure: ScoreSpec) -> Verdict:
    """Whether a difference to the base is shown: only when its interval leaves out 0."""
    _, low, high = score_effect(score, measure)
    if measure.from_base or low is None or high is None or measure.higher_is_better is None:
        return "unknown"
    if low <= 0.0 <= high:
        return "none"
    return "better" if (low > 0.0) == measure.higher_is_better else "worse"


def intervals_overlap(one: ScoreEffect, other: ScoreEffect) -> bool:
    """Whether two intervals share a point; True when one of them is missing."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return True
    return one.low <= other.high and other.low <= one.high
