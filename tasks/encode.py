"""Encode images as the features that scores are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.keys import source_hash
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import Artifact, CaptionedConcept, EvaluationModels, ImageSet, RunContext
from tasks.generate import image_files, read_prompts
from tasks.runtime import progress, resources
from tasks.runtime.cache import get_or_compute
from tasks.runtime.tagging import TAGGING_SOURCES
from tasks.runtime.transfer import ensure_local, local_context, local_images

FEATURES_FILE = "features.safetensors"
LOOK_ALIKES = "look_alikes"
"""The set of look-alikes in the features of a dataset."""
REFERENCE_PREDICTORS = ("rubric_concept",)
"""Quality predictors that see a reference beside each generated image."""
FEATURE_SOURCES = (
    *TAGGING_SOURCES,
    *(
        "metrics/encoding.py",
        "metrics/features.py",
        "metrics/registry.py",
        "metrics/metric.py",
        "metrics/predicted_metrics.py",
    ),
    *("metrics/prediction.py", "metrics/colours.py", "metrics/quality_predictors", "terms.py"),
)
"""Library code that features depend on."""


@task(name="features", task_run_name="features {label}")
@redacting_errors
def extract_features(
    context: RunContext,
    label: str,
    images: ImageSet | Sequence[Artifact],
    concept: CaptionedConcept,
    models: EvaluationModels,
    look_alikes: ImageSet | None = None,
) -> Artifact:
    """Encode a dataset's images, or generated ones, unless their features are cached.

    Args:
        images: of the dataset; or stages of generated images, whose prompt types are combined.
        concept: what they show.
        models: that encode them.
        look_alikes: of the concept, which are encoded with a dataset.

    Returns:
        The stage; its folder holds ``features.safetensors``, by prompt type or under ``references``.
    """
    from lycoris.metrics.quality_predictors import predictor_digests

    context = local_context(context)
    is_dataset = isinstance(images, ImageSet)
    inputs: dict[str, Any] = {
        "images": images.digest if isinstance(images, ImageSet) else None,
        "generated": [] if isinstance(images, ImageSet) else [artifact.key for artifact in images],
        "category": concept.category,
        "names": [] if is_dataset else list(concept.aliases),
        "encoders": dict(sorted(models.encoders.items())),
        "style_encoder": [models.style_encoder.source, models.style_encoder.digest],
        "tagger": None if models.tagger is None else [models.tagger.source, models.tagger.digest],
        "quality_predictors": predictor_digests(models.quality_predictors) if models.quality_predictors else [],
        **({} if look_alikes is None else {LOOK_ALIKES: look_alikes.digest}),
        **({"references": concept.images_digest} if not is_dataset and _sees_references(models) else {}),
        "resize_mode": models.resize_mode,
        "code": source_hash(*FEATURE_SOURCES),
    }

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        if isinstance(images, ImageSet):
            _encode_references(context, images, concept, models, folder, look_alikes)
        else:
            _encode_generated(context, images, concept, models, folder, bar)

    return get_or_compute(context, "features", label, inputs, compute)


def _encode_references(
    context: RunContext,
    images: ImageSet,
    concept: CaptionedConcept,
    models: EvaluationModels,
    folder: Path,
    look_alikes: ImageSet | None,
) -> None:
    from lycoris.data.images import ImageFiles
    from lycoris.metrics import encode_references, save_features
    from lycoris.metrics.quality_predictors import open_quality_predictors
    from lycoris.pretrained import resolve_device

    resources.park_base(context)
    encoders = [resources.cached_encoder(source, context.device) for source in models.encoders]
    style = resources.cached_style_encoder(models.style_encoder.source, context.device)
    predictors = open_quality_predictors(models.quality_predictors, encoders, resolve_device(context.device))
    sets = {"references": images} if look_alikes is None else {"references": images, LOOK_ALIKES: look_alikes}
    features = {
        name: encode_references(
            ImageFiles(local_images(context, own)),
            encoders,
            style,
            category=concept.category,
            quality_predictors=predictors if name == "references" else (),
            mode=models.resize_mode,
        )
        for name, own in sets.items()
    }
    save_features(folder / FEATURES_FILE, features)


def _encode_generated(
    context: RunContext,
    artifacts: Sequence[Artifact],
    concept: CaptionedConcept,
    models: EvaluationModels,
    folder: Path,
    bar: progress.StepProgress,
) -> None:
    from lycoris.data.images import ImageFiles
    from lycoris.metrics import GeneratedImages, encode, save_features
    from lycoris.metrics.quality_predictors import open_quality_predictors
    from lycoris.pretrained import resolve_device

    resources.park_base(context)
    encoders = [resources.cached_encoder(source, context.device) for source in models.encoders]
    style = resources.cached_style_encoder(models.style_encoder.source, context.device)
    generated = {}
    for artifact in (ensure_local(context, one) for one in artifacts):
        files = image_files(artifact)
        for kind, prompts in read_prompts(artifact).items():
            generated[kind] = GeneratedImages(kind, ImageFiles(files[kind]), prompts)
    reads_files = models.tagger is None or models.tagger.source == "sidecar"
    tagger = None if reads_files else resources.cached_tagger(models.tagger, context.device)
    features = encode(
        generated,
        encoders,
        style,
        category=concept.category,
        tagger=tagger,
        concept_names=concept.aliases,
        quality_predictors=open_quality_predictors(models.quality_predictors, encoders, resolve_device(context.device)),
        reference_images=ImageFiles(list(concept.images)) if _sees_references(models) else (),
        mode=models.resize_mode,
        progress=bar,
    )
    save_features(folder / FEATURES_FILE, features)


def _sees_references(models: EvaluationModels) -> bool:
    """Whether a network of its own sees a reference beside each generated image."""
    return any(name.partition("=")[0] in REFERENCE_PREDICTORS for name in models.quality_predictors)
