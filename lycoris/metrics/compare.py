"""Scores of a tuned model beside its base, and of two tuned models beside each other, from features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from lycoris.encoders import Encoder, StyleEncoder
from lycoris.errors import unknown
from lycoris.metrics.encoding import RaterLike, TaggerLike, encode, encode_references
from lycoris.metrics.features import Drawings, FeatureSet
from lycoris.metrics.registry import METRICS
from lycoris.metrics.score import Score, Sets, encoders_for, scored


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
    for kind, drawn in drawings.items():
        own = Sets(references, drawn, base.get(kind) if base else None)
        control = None if own.base is None else Sets(references, own.partner or own.base, own.partner)
        sets[kind] = own, control
    result = []
    for name in _chosen(metrics):
        for kind, (own, control) in sets.items():
            if not METRICS[name].applies(kind, category):
                continue
            for encoder in encoders_for(name, own):
                known = control if control is not None and encoder in encoders_for(name, control) else None
                full, paired = f"{name}/{kind}/{encoder}", own.partner is not None
                result.append(scored(full, own, known, paired=paired, seed=seed, resamples=resamples))
    return result


def between(
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
        pair = first[kind].common_with(second[kind])
        own, other = (
            Sets(references, each, base.get(kind) if base else None) for each in pair or (first[kind], second[kind])
        )
        sets[kind] = own, other, pair is not None
    result = []
    for name in _chosen(metrics):
        for kind, (own, other, paired) in sets.items():
            if not METRICS[name].applies(kind, category):
                continue
            for encoder in (each for each in encoders_for(name, own) if each in encoders_for(name, other)):
                full = f"{name}/{kind}/{encoder}"
                result.append(scored(full, own, other, paired=paired, other="other", seed=seed, resamples=resamples))
    return result


def _chosen(metrics: Iterable[str] | None) -> list[str]:
    chosen = [name for name in METRICS if METRICS[name].by_default] if metrics is None else list(metrics)
    for name in chosen:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    return chosen


def score(
    references: Sequence[Image.Image] | FeatureSet,
    drawings: Mapping[str, Drawings | FeatureSet],
    base_drawings: Mapping[str, Drawings | FeatureSet] | None,
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    names: Sequence[str] = (),
    raters: Sequence[RaterLike] = (),
    seed: int = 0,
    mode: str = "resize",
) -> list[Score]:
    """`encode`, then `compare`: pictures in, scores out. What is encoded already is taken as it is."""

    def seen(drawings: Mapping[str, Drawings | FeatureSet]) -> dict[str, FeatureSet]:
        return encode(
            drawings, encoders, style_encoder,
            category=category, tagger=tagger, names=names, raters=raters, mode=mode,
        )  # fmt: skip

    known = encode_references(references, encoders, style_encoder, category=category, mode=mode)
    base = None if base_drawings is None else seen(base_drawings)
    return compare(known, seen(drawings), base, category=category, seed=seed)
