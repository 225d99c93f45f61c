"""Scores from features: a tuned model next to its base, and two tuned models next to each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from PIL import Image

from lycoris.encoders import Encoder, StyleEncoder
from lycoris.errors import unknown_name_error
from lycoris.metrics.encoding import encode, encode_references
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
    look_alikes: FeatureSet | None = None,
) -> list[Score]:
    """Compute every applicable metric on every prompt type and encoder, for a tuned model and its base.

    For the difference between two tuned models see `compare_models`.

    Args:
        references: features of the dataset's images.
        generated: prompt type -> features of the tuned model's images.
        base: prompt type -> features of the base's images; without it the metrics that need it are left out.
        category: the concept's category.
        seed: seed of the resampling.
        resamples: number of resamples.
        metrics: names of metrics; by default those that are ``by_default``.
        look_alikes: features of images of other things that look like the concept; without it the metrics that need it
            are left out.

    Returns:
        Scores in the order of `METRICS`, then of prompt types and encoders.

    Raises:
        InputError: a metric is unknown, or features of one encoder differ in width.
    """
    sets: dict[str, tuple[FeatureSets, FeatureSets | None, bool]] = {}
    for prompt_type, features in generated.items():
        own = FeatureSets(references, features, base.get(prompt_type) if base else None, look_alikes)
        control = None
        if own.base is not None:
            control = FeatureSets(references, own.paired_base or own.base, own.paired_base, look_alikes)
        sets[prompt_type] = own, control, own.paired_base is not None
    return [
        compute_score(name, own, control, paired=paired, seed=seed, resamples=resamples)
        for name, own, control, paired in _applicable_metrics(metrics, sets, category)
    ]


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
    look_alikes: FeatureSet | None = None,
) -> list[Score]:
    """Compute every applicable metric for two tuned models of one concept, and their differences.

    For each prompt type the images with common prompts and seeds are compared, paired; if there are none, all images
    are compared unpaired and the score's note says so. Preservation is measured against ``base`` for both.

    Args:
        references: features of the dataset's images.
        first: prompt type -> features of the first model's images.
        second: the same of the second model; only common prompt types are compared.
        base: the same of the base; without it the metrics that need it are left out.
        category: the concept's category.
        seed: seed of the resampling.
        resamples: number of resamples.
        metrics: names of metrics; by default those that are ``by_default``.
        look_alikes: features of images of other things that look like the concept; without it the metrics that need it
            are left out.

    Returns:
        Scores of the first model; their ``base`` fields hold the second model's.

    Raises:
        InputError: a metric is unknown, or features of one encoder differ in width.
    """
    sets: dict[str, tuple[FeatureSets, FeatureSets | None, bool]] = {}
    for prompt_type in (name for name in first if name in second):
        pair = first[prompt_type].intersect(second[prompt_type])
        own, other = (
            FeatureSets(references, features, base.get(prompt_type) if base else None, look_alikes)
            for features in pair or (first[prompt_type], second[prompt_type])
        )
        sets[prompt_type] = own, other, pair is not None
    return [
        compute_score(name, own, other, paired=paired, control_name="other", seed=seed, resamples=resamples)
        for name, own, other, paired in _applicable_metrics(metrics, sets, category)
        if other is not None
    ]


def _applicable_metrics(
    metrics: Iterable[str] | None, sets: Mapping[str, tuple[FeatureSets, FeatureSets | None, bool]], category: str
) -> Iterator[tuple[str, FeatureSets, FeatureSets | None, bool]]:
    """Yield the name of every score with its sets; the control is None where it lacks the features."""
    names = _default_metrics(sets) if metrics is None else list(metrics)
    for name in names:
        if name not in METRICS:
            raise unknown_name_error("metric", name, METRICS)
    for name in names:
        for prompt_type, (own, control, paired) in sets.items():
            is_defined = own.generated.has_prompts or not METRICS[name].needs_prompts(prompt_type)
            if is_defined and METRICS[name].applies_to(prompt_type, category):
                controlled = [] if control is None else usable_encoders(name, control)
                for encoder in usable_encoders(name, own):
                    usable = control if encoder in controlled else None
                    yield f"{name}/{prompt_type}/{encoder}", own, usable, paired


def _default_metrics(sets: Mapping[str, tuple[FeatureSets, FeatureSets | None, bool]]) -> list[str]:
    """The metrics that are computed by default, without those that a measure in use replaces."""
    replaced = {"copy_risk"} if any(usable_encoders("copy_rate", own) for own, _, _ in sets.values()) else set()
    return [name for name in METRICS if METRICS[name].by_default and name not in replaced]


def score_images(
    references: Sequence[Image.Image] | FeatureSet,
    generated: Mapping[str, GeneratedImages | FeatureSet],
    base: Mapping[str, GeneratedImages | FeatureSet] | None,
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    seed: int = 0,
    mode: str = "resize",
) -> list[Score]:
    """Encode and compare: images in, scores out; feature sets are used unchanged.

    For attribute metrics and quality predictors call `encode` and `compare`.
    """
    reference_features = encode_references(references, encoders, style_encoder, category=category, mode=mode)
    features = encode(generated, encoders, style_encoder, category=category, mode=mode)
    base_features = None if base is None else encode(base, encoders, style_encoder, category=category, mode=mode)
    return compare(reference_features, features, base_features, category=category, seed=seed)
