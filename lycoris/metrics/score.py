"""One number about one model beside the same number of another, with intervals: how every score is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from lycoris.metrics.features import FeatureSet
from lycoris.metrics.intervals import Estimate, confidence_interval, difference_interval, estimate_metric
from lycoris.metrics.registry import METRICS, Metric
from lycoris.metrics.weighted import as_features, l2_normalize

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
class FeatureSets:
    """What the drawings of one prompt type are held against."""

    references: FeatureSet
    generated: FeatureSet
    base: FeatureSet | None

    @cached_property
    def paired_base(self) -> FeatureSet | None:
        """The base's drawings of the same prompts and seeds, in the same order."""
        return self.base.aligned_with(self.generated) if self.base is not None else None


def _feature_kind(name: str) -> str:
    """The sort of features of the drawings that a metric sees."""
    return {"tags": "found", "rating": name}.get(METRICS[name].feature_kind, METRICS[name].feature_kind)


def usable_encoders(name: str, sets: FeatureSets) -> list[str]:
    """The encoders whose features have all that a metric needs."""
    metric = METRICS[name]
    names = sets.generated.encoder_names(_feature_kind(name))
    if "base" in metric.inputs:
        names = [
            name for name in names if sets.base is not None and name in sets.base.encoder_names(metric.feature_kind)
        ]
    if "references" in metric.inputs:
        names = [name for name in names if name in sets.references.encoder_names(metric.feature_kind)]
    if "texts" in metric.inputs:
        names = [name for name in names if name in sets.generated.encoder_names("text")]
    return names


def compute_score(
    name: str,
    sets: FeatureSets,
    control_sets: FeatureSets | None,
    *,
    paired: bool,
    control_name: str = "base",
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
    value = _estimate_score(name, metric, sets)
    beside = Estimate(None) if control_sets is None else _estimate_score(name, metric, control_sets)
    notes = [value.note]
    difference = ends = None
    if value.value is not None and beside.value is not None:
        difference = value.value - beside.value
        ends = difference_interval(value, beside, paired=paired, seed=seed, resamples=resamples)
        if not paired:
            notes.append(f"the {control_name} has other prompts or seeds: the difference is not paired")
    if beside.note and beside.note != value.note:
        notes.append(f"{control_name}: {beside.note}")
    low, high = _clip_interval(confidence_interval(value, seed=seed, resamples=resamples), metric)
    base_low, base_high = _clip_interval(confidence_interval(beside, seed=seed, resamples=resamples), metric)
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
        count=len(sets.generated),
        note="; ".join(note for note in notes if note),
    )


def _estimate_score(name: str, metric: Metric, sets: FeatureSets) -> Estimate:
    """One metric of the drawings."""
    own_name, kind, encoder = name.split("/")
    if "references" in metric.inputs and len(sets.references) < metric.min_references:
        return Estimate(None, note=f"needs {metric.min_references} references, got {len(sets.references)}")
    if "base" in metric.inputs and sets.paired_base is None:
        return Estimate(None, note="the base has no drawings of the same prompts and seeds")
    arrays: list[np.ndarray] = []
    for need in (*metric.inputs, "drawings"):
        source = {"references": sets.references, "base": sets.paired_base}.get(need, sets.generated)
        assert source is not None
        what = {"texts": "text", "wanted": "wanted"}.get(need, _feature_kind(own_name))
        array = as_features(source.arrays[f"{what}/{encoder}"], f"{need}: {what}/{encoder}")
        arrays.append(l2_normalize(array.astype(np.float64)) if metric.feature_kind == "image" else array)
    groups = None
    if kind in metric.grouped_prompt_types and sets.generated.prompts:
        groups = np.array([prompt.group for prompt in sets.generated.prompts])
    return estimate_metric(metric.function, arrays, min_images=metric.min_images, groups=groups)


def _clip_interval(interval: tuple[float, float] | None, metric: Metric) -> tuple[float, float] | tuple[None, None]:
    """An interval cut to the values that the metric can have at all."""
    if interval is None:
        return None, None
    lowest, highest = metric.range
    return (
        interval[0] if lowest is None else max(interval[0], lowest),
        interval[1] if highest is None else min(interval[1], highest),
    )


def _verdict(interval: tuple[float, float] | None, higher_is_better: bool) -> Verdict | None:
    if interval is None:
        return None
    if interval[0] <= 0 <= interval[1]:
        return "no difference shown"
    return "better" if (interval[0] > 0) == higher_is_better else "worse"
