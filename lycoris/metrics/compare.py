"""Scores of a tuned model beside its base, and of two tuned models beside each other, from features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from lycoris.encoders import Encoder, StyleEncoder
from lycoris.errors import unknown_name_error
from lycoris.metrics.encoding import QualityPredictorLike, TaggerLike, encode, encode_references
from lycoris.metrics.features import FeatureSet, GeneratedImages
from lycoris.metrics.registry import METRICS
from lycoris.metrics.score import FeatureSets, Score, compute_score, usable_encoders


def compare(
    references: FeatureSet,
    generated: Mapping[str, FeatureSet],
    base: Mapping[str, FeatureSet] | None = None,
    *,
    category: str,
    seed: int = 0,
    resamples: int = 1000,
    metrics: Iterable[str] | None = None,
) -> list[Score]:
    """Every metric of the table on every prompt type and encoder that it is for, from features alone.

    For the difference between two tuned models see `between`.

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
    sets = {}
    for kind, drawn in generated.items():
        own = FeatureSets(references, drawn, base.get(kind) if base else None)
        control = None if own.base is None else FeatureSets(references, own.paired_base or own.base, own.paired_base)
        sets[kind] = own, control
    result = []
    for name in _selected_metrics(metrics):
        for kind, (own, control) in sets.items():
            if not METRICS[name].applies_to(kind, category):
                continue
            for encoder in usable_encoders(name, own):
                known = control if control is not None and encoder in usable_encoders(name, control) else None
                full, paired = f"{name}/{kind}/{encoder}", own.paired_base is not None
                result.append(compute_score(full, own, known, paired=paired, seed=seed, resamples=resamples))
    return result


def compare_models(
    references: FeatureSet,
    first: Mapping[str, FeatureSet],
    second: Mapping[str, FeatureSet],
    base: Mapping[str, FeatureSet] | None = None,
    *,
    category: str,
    seed: int = 0,
    resamples: int = 1000,
    metrics: Iterable[str] | None = None,
) -> list[Score]:
    """What separates two tuned models of one concept, metric by metric.

    Of each prompt type the drawings of the common prompts and seeds are compared, paired; where there are none, all
    are compared unpaired and the score's note says so. What is left of the base is measured for both from ``base``.

    Args:
        references: features of the dataset's pictures.
        first: prompt type -> features of one model's drawings.
        second: of the other's; prompt types that only one has are left out.
        base: of the base's drawings; metrics that need it are left out without.
        category: of the concept.
        seed: of the resampling.
        resamples: their number.
        metrics: names of the metrics wanted; those of the table that are ``by_default`` otherwise.

    Returns:
        Scores of the first; where one of `compare` says "base", these say what holds of the second.

    Raises:
        InputError: a metric is unknown, or features of one encoder are of unlike width.
    """
    sets = {}
    for kind in (each for each in first if each in second):
        pair = first[kind].intersect(second[kind])
        own, other = (
            FeatureSets(references, each, base.get(kind) if base else None)
            for each in pair or (first[kind], second[kind])
        )
        sets[kind] = own, other, pair is not None
    result = []
    for name in _selected_metrics(metrics):
        for kind, (own, other, paired) in sets.items():
            if not METRICS[name].applies_to(kind, category):
                continue
            for encoder in (each for each in usable_encoders(name, own) if each in usable_encoders(name, other)):
                full = f"{name}/{kind}/{encoder}"
                result.append(
                    compute_score(full, own, other, paired=paired, control_name="other", seed=seed, resamples=resamples)
                )
    return result


def _selected_metrics(metrics: Iterable[str] | None) -> list[str]:
    chosen = [name for name in METRICS if METRICS[name].by_default] if metrics is None else list(metrics)
    for name in chosen:
        if name not in METRICS:
            raise unknown_name_error("metric", name, METRICS)
    return chosen


def score_images(
    references: Sequence[Image.Image] | FeatureSet,
    generated: Mapping[str, GeneratedImages | FeatureSet],
    base_generated: Mapping[str, GeneratedImages | FeatureSet] | None,
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    concept_names: Sequence[str] = (),
    quality_predictors: Sequence[QualityPredictorLike] = (),
    seed: int = 0,
    mode: str = "resize",
) -> list[Score]:
    """`encode`, then `compare`: pictures in, scores out. What is encoded already is taken as it is."""

    def seen(drawings: Mapping[str, GeneratedImages | FeatureSet]) -> dict[str, FeatureSet]:
        return encode(
            drawings, encoders, style_encoder,
            category=category, tagger=tagger, concept_names=concept_names, quality_predictors=quality_predictors, mode=mode,  # noqa: E501
        )  # fmt: skip

    known = encode_references(references, encoders, style_encoder, category=category, mode=mode)
    base = None if base_generated is None else seen(base_generated)
    return compare(known, seen(generated), base, category=category, seed=seed)
