"""Scores of a tuned model beside its base, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image

from lycoris.encoders import Encoder, StyleEncoder
from lycoris.errors import unknown
from lycoris.metrics.features import Drawings, FeatureSet, RaterLike, TaggerLike, encode, encode_references
from lycoris.metrics.functional import as_float64, unit
from lycoris.metrics.intervals import Estimate, difference_interval, estimate, interval
from lycoris.metrics.table import METRICS, Metric

Verdict = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True)
class Score:
    """One number about one model, beside the same number of its base.

    Attributes:
        name: ``<metric>/<prompt type>/<encoder>``.
        value: the score; ``None`` where it is undefined, and ``note`` says why.
        low: lower end of its 95 % interval over prompts and seeds, within the range of the metric; ``None``
            where there is none.
        high: upper end.
        base: the base's score, with ``base_low`` and ``base_high``; ``None`` where no base was given.
        difference: value - base, with ``difference_low`` and ``difference_high`` of the paired interval.
        dimension: which of the five questions it answers.
        higher_is_better: its direction.
        verdict: ``better`` or ``worse`` than the base where the interval of the difference leaves out 0,
            otherwise ``no difference shown``; ``None`` without such an interval.
        count: drawings.
        note: why something is ``None`` or unpaired; empty otherwise.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    base: float | None
    base_low: float | None
    base_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    dimension: str
    higher_is_better: bool
    verdict: Verdict | None = None
    count: int = 0
    note: str = ""


def compare(
    references: FeatureSet,
    drawings: Mapping[str, FeatureSet],
    base: Mapping[str, FeatureSet] | None = None,
    *,
    category: str,
    seed: int = 0,
    resamples: int = 1000,
    metrics: Iterable[str] | None = None,
) -> list[Score]:
    """Every metric of the table on every prompt type and encoder that it is for, from features alone.

    For the difference between two tuned models give the other's features as ``base``.

    Args:
        references: features of the dataset's pictures.
        drawings: prompt type -> features of the tuned model's drawings.
        base: prompt type -> features of the base's drawings; metrics that need it are left out without.
        category: of the concept.
        seed: of the resampling.
        resamples: their number.
        metrics: names of the metrics wanted; those of the table that are ``by_default`` otherwise.

    Returns:
        Scores in the order of the table, then of prompt types and encoders.

    Raises:
        InputError: a metric is unknown, or features of one encoder are of unlike width.
    """
    chosen = [name for name in METRICS if METRICS[name].by_default] if metrics is None else list(metrics)
    for name in chosen:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    sets = {kind: _Sets(references, own, base.get(kind) if base else None) for kind, own in drawings.items()}
    return [
        _score(f"{name}/{kind}/{encoder}", METRICS[name], each, seed, resamples)
        for name in chosen
        for kind, each in sets.items()
        if METRICS[name].applies(kind, category)
        for encoder in _encoders(name, each)
    ]


def score(
    references: Sequence[Image.Image] | FeatureSet,
    drawings: Mapping[str, Drawings | FeatureSet],
    base_drawings: Mapping[str, Drawings | FeatureSet] | None,
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    raters: Sequence[RaterLike] = (),
    seed: int = 0,
    mode: str = "resize",
) -> list[Score]:
    """`encode`, then `compare`: pictures in, scores out. What is encoded already is taken as it is."""

    def seen(drawings: Mapping[str, Drawings | FeatureSet]) -> dict[str, FeatureSet]:
        return encode(drawings, encoders, style_encoder, category=category, tagger=tagger, raters=raters, mode=mode)

    known = encode_references(references, encoders, style_encoder, category=category, mode=mode)
    base = None if base_drawings is None else seen(base_drawings)
    return compare(known, seen(drawings), base, category=category, seed=seed)


@dataclass(frozen=True, eq=False)
class _Sets:
    """What the drawings of one prompt type are held against."""

    references: FeatureSet
    own: FeatureSet
    base: FeatureSet | None

    @cached_property
    def partner(self) -> FeatureSet | None:
        """The base's drawings of the same prompts and seeds, in the same order."""
        return self.base.paired_with(self.own) if self.base is not None else None


def _what(name: str) -> str:
    """The sort of features of the drawings that a metric sees."""
    return {"tags": "found", "rating": name}.get(METRICS[name].sees, METRICS[name].sees)


def _encoders(name: str, sets: _Sets) -> list[str]:
    """The encoders whose features have all that a metric needs."""
    metric = METRICS[name]
    if "base" in metric.needs and sets.base is None:
        return []
    names = sets.own.encoders(_what(name))
    if "references" in metric.needs:
        names = [name for name in names if name in sets.references.encoders(metric.sees)]
    if "texts" in metric.needs:
        names = [name for name in names if name in sets.own.encoders("text")]
    return names


def _score(name: str, metric: Metric, sets: _Sets, seed: int, resamples: int) -> Score:
    paired = sets.partner is not None
    if "base" in metric.needs and not paired:
        value = Estimate(None, note="the base has no drawings of the same prompts and seeds")
    else:
        value = _estimate(name, metric, sets, sets.own)
    control = Estimate(None)
    if sets.base is not None and (paired or "base" not in metric.needs):
        control = _estimate(name, metric, sets, sets.partner if sets.partner is not None else sets.base)
    notes = [value.note]
    difference = ends = None
    if value.value is not None and control.value is not None:
        difference = value.value - control.value
        ends = difference_interval(value, control, paired=paired, seed=seed, resamples=resamples)
        if not paired:
            notes.append("the base has other prompts or seeds: the difference is not paired")
    if control.note and control.note != value.note:
        notes.append(f"base: {control.note}")
    low, high = _within(interval(value, seed=seed, resamples=resamples), metric)
    base_low, base_high = _within(interval(control, seed=seed, resamples=resamples), metric)
    return Score(
        name=name,
        value=value.value,
        low=low,
        high=high,
        base=control.value,
        base_low=base_low,
        base_high=base_high,
        difference=difference,
        difference_low=ends[0] if ends else None,
        difference_high=ends[1] if ends else None,
        dimension=metric.dimension,
        higher_is_better=metric.higher_is_better,
        verdict=_verdict(ends, metric.higher_is_better),
        count=len(sets.own),
        note="; ".join(note for note in notes if note),
    )


def _estimate(name: str, metric: Metric, sets: _Sets, shown: FeatureSet) -> Estimate:
    """One metric of the drawings, or of the base's own, which are then their own base."""
    own_name, kind, encoder = name.split("/")
    if "references" in metric.needs and len(sets.references) < metric.least_references:
        return Estimate(None, note=f"needs {metric.least_references} references, got {len(sets.references)}")
    arrays: list[np.ndarray] = []
    for need in (*metric.needs, "drawings"):
        source = {"references": sets.references, "base": sets.partner}.get(need, shown)
        assert source is not None
        what = {"texts": "text", "wanted": "wanted"}.get(need, _what(own_name))
        array = as_float64(source.arrays[f"{what}/{encoder}"], f"{need}: {what}/{encoder}")
        arrays.append(unit(array) if metric.sees == "image" else array)
    groups = None
    if kind in metric.grouped and shown.prompts:
        groups = np.array([prompt.group for prompt in shown.prompts])
    return estimate(metric.function, arrays, least=metric.least, groups=groups)


def _within(ends: tuple[float, float] | None, metric: Metric) -> tuple[float, float] | tuple[None, None]:
    """An interval cut to the values that the metric can have at all."""
    if ends is None:
        return None, None
    lowest, highest = metric.range
    return (
        ends[0] if lowest is None else max(ends[0], lowest),
        ends[1] if highest is None else min(ends[1], highest),
    )


def _verdict(ends: tuple[float, float] | None, higher_is_better: bool) -> Verdict | None:
    if ends is None:
        return None
    if ends[0] <= 0 <= ends[1]:
        return "no difference shown"
    return "better" if (ends[0] > 0) == higher_is_better else "worse"
