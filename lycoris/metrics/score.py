"""Scores: one number about a model next to the same number about another, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict

import numpy as np

from lycoris.metrics.features import FeatureSet
from lycoris.metrics.intervals import Estimate, confidence_interval, difference_interval, estimate_metric
from lycoris.metrics.metric import Metric
from lycoris.metrics.registry import METRICS, smallest_difference
from lycoris.metrics.weighted import as_features, l2_normalize

NO_INTERVAL_NOTE = "no interval: leaving out single images says nothing about this metric"
Verdict = Literal["better", "worse", "no difference shown", "too small to matter"]


@dataclass(frozen=True)
class Score:
    """One number about a model, next to the same number about its base.

    Attributes:
        name: ``<metric>/<prompt type>/<encoder>``.
        value: the score; None if it is undefined, and ``note`` says why.
        low: lower end of its 95 % interval over prompts and seeds, within the metric's range; None if there is none.
        high: upper end.
        base: the base's score, with ``base_low`` and ``base_high``; None without a base.
        difference: value - base, with ``difference_low`` and ``difference_high`` of the paired interval.
        dimension: one of `lycoris.terms.DIMENSIONS`.
        higher_is_better: the metric's direction.
        verdict: ``better`` or ``worse`` than the base if the interval of the difference excludes 0, otherwise
            ``no difference shown``; ``too small to matter`` if it excludes 0 and the difference is below
            `smallest_difference`; None without such an interval.
        count: number of generated images.
        note: why something is None or unpaired; otherwise empty.
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


class ScoreRecord(TypedDict, total=False):
    """A :class:`Score` as JSON has it; any part may be missing."""

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
    note: str


@dataclass(frozen=True, eq=False)
class FeatureSets:
    """The generated images of one prompt type, and the sets they are compared with."""

    references: FeatureSet
    generated: FeatureSet
    base: FeatureSet | None
    look_alikes: FeatureSet | None = None

    @cached_property
    def paired_base(self) -> FeatureSet | None:
        """The base's images of the same prompts and seeds, in the same order."""
        return self.base.aligned_with(self.generated) if self.base is not None else None


def _feature_kind(name: str) -> str:
    """The kind of features of the generated images that a metric uses, as `FeatureSet.arrays` names it."""
    kind = METRICS[name].feature_kind
    return {"tags": "detected", "prediction": name}.get(kind, kind)


def usable_encoders(name: str, sets: FeatureSets) -> list[str]:
    """Return the encoders with all the features that a metric needs."""
    metric = METRICS[name]
    encoders = sets.generated.encoder_names(_feature_kind(name))
    others = {"base": sets.base, "references": sets.references, "look_alikes": sets.look_alikes}
    for role, features in others.items():
        if role in metric.inputs:
            available = [] if features is None else features.encoder_names(_feature_kind(name))
            encoders = [encoder for encoder in encoders if encoder in available]
    if "texts" in metric.inputs:
        available = sets.generated.encoder_names("text")
        encoders = [encoder for encoder in encoders if encoder in available]
    return encoders


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
    """Compute a score of a model next to that of a control.

    Args:
        name: ``<metric>/<prompt type>/<encoder>``.
        sets: the model's images and the sets they are compared with.
        control_sets: the same of the base or of another adapter; None without one.
        paired: whether the i-th images of both share prompt and seed.
        control_name: the control's name in notes.
        seed: seed of the resampling.
        resamples: number of resamples.
    """
    metric = METRICS[name.split("/")[0]]
    own = _estimate_score(name, metric, sets)
    control = Estimate(None) if control_sets is None else _estimate_score(name, metric, control_sets)
    notes = [own.note]
    difference = interval = None
    if own.value is not None and control.value is not None:
        difference = own.value - control.value
        interval = difference_interval(own, control, paired=paired, seed=seed, resamples=resamples)
        if not paired:
            notes.append(f"the {control_name} has other prompts or seeds: the difference is not paired")
    if control.note and control.note != own.note:
        notes.append(f"{control_name}: {control.note}")
    low, high = _clip_interval(confidence_interval(own, seed=seed, resamples=resamples), metric)
    base_low, base_high = _clip_interval(confidence_interval(control, seed=seed, resamples=resamples), metric)
    return Score(
        name=name,
        value=own.value,
        low=low,
        high=high,
        base=control.value,
        base_low=base_low,
        base_high=base_high,
        difference=difference,
        difference_low=interval[0] if interval else None,
        difference_high=interval[1] if interval else None,
        dimension=metric.dimension,
        higher_is_better=metric.higher_is_better,
        verdict=_verdict(name, difference, interval, control.value),
        count=len(sets.generated),
        note="; ".join(note for note in notes if note),
    )


def _estimate_score(name: str, metric: Metric, sets: FeatureSets) -> Estimate:
    metric_name, prompt_type, encoder = name.split("/")
    if "references" in metric.inputs and len(sets.references) < metric.min_references:
        return Estimate(None, note=f"needs {metric.min_references} references, got {len(sets.references)}")
    if "base" in metric.inputs and sets.paired_base is None:
        return Estimate(None, note="the base has no images of the same prompts and seeds")
    arrays: list[np.ndarray] = []
    for role in (*metric.inputs, "generated"):
        others = {"references": sets.references, "look_alikes": sets.look_alikes, "base": sets.paired_base}
        source = others.get(role, sets.generated)
        assert source is not None
        kind = {"texts": "text", "requested": "requested"}.get(role, _feature_kind(metric_name))
        array = as_features(source.arrays[f"{kind}/{encoder}"], f"{role}: {kind}/{encoder}")
        arrays.append(l2_normalize(array.astype(np.float64)) if metric.feature_kind == "image" else array)
    groups = None
    if prompt_type in metric.grouped_prompt_types and sets.generated.prompts:
        groups = np.array([prompt.group for prompt in sets.generated.prompts])
    estimate = estimate_metric(metric.function, arrays, min_images=metric.min_images, groups=groups)
    if metric.has_interval or estimate.value is None:
        return estimate
    return Estimate(estimate.value, note=NO_INTERVAL_NOTE)


def _clip_interval(interval: tuple[float, float] | None, metric: Metric) -> tuple[float, float] | tuple[None, None]:
    """Clip an interval to the metric's range."""
    if interval is None:
        return None, None
    lowest, highest = metric.range
    return (
        interval[0] if lowest is None else max(interval[0], lowest),
        interval[1] if highest is None else min(interval[1], highest),
    )


def is_too_small(score: ScoreRecord) -> bool:
    """Whether the difference of a score is known, and too small to matter whether it is shown or not."""
    difference = score.get("difference")
    return difference is not None and abs(difference) < smallest_difference(score["name"], score.get("base"))


def _verdict(
    name: str, difference: float | None, interval: tuple[float, float] | None, base: float | None
) -> Verdict | None:
    if interval is None:
        return None
    if interval[0] <= 0 <= interval[1]:
        return "no difference shown"
    if is_too_small({"name": name, "difference": difference, "base": base}):
        return "too small to matter"
    return "better" if (interval[0] > 0) == METRICS[name.partition("/")[0]].higher_is_better else "worse"
