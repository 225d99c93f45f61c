"""One number about one model beside the same number of another, with intervals: how every score is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from lycoris.metrics.features import FeatureSet
from lycoris.metrics.intervals import Estimate, difference_interval, estimate, interval
from lycoris.metrics.registry import METRICS, Metric
from lycoris.metrics.weighted import checked, unit

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


@dataclass(frozen=True, eq=False)
class Sets:
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


def encoders_for(name: str, sets: Sets) -> list[str]:
    """The encoders whose features have all that a metric needs."""
    metric = METRICS[name]
    names = sets.own.encoders(_what(name))
    if "base" in metric.needs:
        names = [name for name in names if sets.base is not None and name in sets.base.encoders(metric.sees)]
    if "references" in metric.needs:
        names = [name for name in names if name in sets.references.encoders(metric.sees)]
    if "texts" in metric.needs:
        names = [name for name in names if name in sets.own.encoders("text")]
    return names


def scored(
    name: str,
    own: Sets,
    control: Sets | None,
    *,
    paired: bool,
    other: str = "base",
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """A score of ``own`` beside that of ``control``.

    Args:
        name: ``<metric>/<prompt type>/<encoder>``.
        own: the drawings and what they are held against.
        control: the same of the base, or of another adapter; ``None`` where there is none.
        paired: whether drawing i of both is of one prompt and seed.
        other: what the control is called in notes.
        seed: of the resampling.
        resamples: their number.
    """
    metric = METRICS[name.split("/")[0]]
    value = _estimate(name, metric, own)
    beside = Estimate(None) if control is None else _estimate(name, metric, control)
    notes = [value.note]
    difference = ends = None
    if value.value is not None and beside.value is not None:
        difference = value.value - beside.value
        ends = difference_interval(value, beside, paired=paired, seed=seed, resamples=resamples)
        if not paired:
            notes.append(f"the {other} has other prompts or seeds: the difference is not paired")
    if beside.note and beside.note != value.note:
        notes.append(f"{other}: {beside.note}")
    low, high = _within(interval(value, seed=seed, resamples=resamples), metric)
    base_low, base_high = _within(interval(beside, seed=seed, resamples=resamples), metric)
    return Score(
        name=name,
        value=value.value,
        low=low,
        high=high,
        base=beside.value,
        base_low=base_low,
        base_high=base_high,
        difference=difference,
        difference_low=ends[0] if ends else None,
        difference_high=ends[1] if ends else None,
        dimension=metric.dimension,
        higher_is_better=metric.higher_is_better,
        verdict=_verdict(ends, metric.higher_is_better),
        count=len(own.own),
        note="; ".join(note for note in notes if note),
    )


def _estimate(name: str, metric: Metric, sets: Sets) -> Estimate:
    """One metric of the drawings."""
    own_name, kind, encoder = name.split("/")
    if "references" in metric.needs and len(sets.references) < metric.least_references:
        return Estimate(None, note=f"needs {metric.least_references} references, got {len(sets.references)}")
    if "base" in metric.needs and sets.partner is None:
        return Estimate(None, note="the base has no drawings of the same prompts and seeds")
    arrays: list[np.ndarray] = []
    for need in (*metric.needs, "drawings"):
        source = {"references": sets.references, "base": sets.partner}.get(need, sets.own)
        assert source is not None
        what = {"texts": "text", "wanted": "wanted"}.get(need, _what(own_name))
        array = checked(source.arrays[f"{what}/{encoder}"], f"{need}: {what}/{encoder}")
        arrays.append(unit(array.astype(np.float64)) if metric.sees == "image" else array)
    groups = None
    if kind in metric.grouped and sets.own.prompts:
        groups = np.array([prompt.group for prompt in sets.own.prompts])
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
