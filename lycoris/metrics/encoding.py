"""Encoding of image sets: features are computed once per encoder and set, with few images in memory at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lycoris.data.prompt_spec import PromptSpec, prompts_are_known
from lycoris.encoders import Encoder, StyleEncoder
from lycoris.encoders.batch_encoding import MAX_THREADS, NonFiniteFeaturesError
from lycoris.errors import InputError
from lycoris.metrics.features import FeatureSet, GeneratedImages
from lycoris.metrics.prediction import PredictionInputs, QualityPredictorLike
from lycoris.metrics.registry import METRICS, needs_style_features

PREFETCH_IMAGES = 128
"""Images that are open at a time, and as many again that are being opened; a multiple of every batch size."""
IMAGES_PER_JOB = 8
"""Images that one thread opens at a time."""


@runtime_checkable
class TaggerLike(Protocol):
    """The part of a tagger that is used here."""

    @property
    def name(self) -> str: ...
    @property
    def categories(self) -> Mapping[str, str]: ...
    def tags(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, float]]: ...


def encode(
    generated: Mapping[str, GeneratedImages | FeatureSet],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    concept_names: Sequence[str] = (),
    quality_predictors: Sequence[QualityPredictorLike] = (),
    reference_images: Sequence[Image.Image] = (),
    mode: str = "resize",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, FeatureSet]:
    """Encode the generated images of every prompt type, for `compare`.

    Args:
        generated: prompt type -> images; feature sets are returned unchanged.
        encoders: image and text-image encoders with distinct names.
        style_encoder: used if a metric needs it: for ``style`` prompts and for concepts that are styles.
        category: the concept's category.
        tagger: for attribute recall and precision; without it they are not computed.
        concept_names: the concept's names in its prompts, such as "sks bear"; tags in them are not requested.
        quality_predictors: networks of single metrics.
        reference_images: images of the concept, for networks that see one beside each generated image.
        mode: one of `lycoris.terms.RESIZE_MODES`.
        progress: called with the number of finished sets and the total.

    Raises:
        InputError: the numbers of images and prompts differ, or two encoders share a name.
    """
    result: dict[str, FeatureSet] = {}
    for done, (prompt_type, images) in enumerate(generated.items(), start=1):
        if isinstance(images, FeatureSet):
            result[prompt_type] = images
        else:
            style = style_encoder if needs_style_features(prompt_type, category) else None
            features = _encode_images(images.images, encoders, style, images.prompts, tagger, concept_names, mode)
            result[prompt_type] = _with_predictions(
                features, images, quality_predictors, tagger, concept_names, reference_images
            )
        if progress:
            progress(done, len(generated))
    return result


def encode_references(
    references: Sequence[Image.Image] | FeatureSet,
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    quality_predictors: Sequence[QualityPredictorLike] = (),
    mode: str = "resize",
) -> FeatureSet:
    """Encode the dataset's images, or look-alikes; the arguments are those of `encode`."""
    if isinstance(references, FeatureSet):
        return references
    style = style_encoder if needs_style_features("references", category) else None
    features = _encode_images(references, encoders, style, (), None, (), mode)
    own = [each for each in quality_predictors if "references" in METRICS[each.metric].inputs]
    return _with_predictions(features, GeneratedImages("references", references, ()), own)


def requested_tags(text: str, categories: Mapping[str, str], concept_names: Sequence[str] = ()) -> set[str]:
    """Find the tags that a prompt names besides the concept: their words occur in it, whole and in order."""
    words = f" {_words(text)} "
    for name in concept_names:
        words = words.replace(f" {_words(name)} ", " . ")
    return {tag for tag in categories if f" {_words(tag)} " in words}


def _words(tag: str) -> str:
    return " ".join(re.findall(r"\w+", tag.lower().replace("_", " ")))


def _encode_images(
    images: Sequence[Image.Image],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None,
    prompts: Sequence[PromptSpec],
    tagger: TaggerLike | None,
    concept_names: Sequence[str],
    mode: str,
) -> FeatureSet:
    if prompts and len(prompts) != len(images):
        raise InputError(f"There must be one prompt per image, but got {len(prompts)} for {len(images)} images.")
    names = [encoder.name for encoder in encoders]
    if len(set(names)) != len(names):
        raise InputError(f"Argument `encoders` must have distinct names, but got {', '.join(names)}.")
    parts: dict[str, list[np.ndarray]] = {}
    texts = [prompt.evaluation for prompt in prompts] if prompts_are_known(prompts) else []
    for start, opened in _prefetch(images):
        try:
            for encoder in encoders:
                parts.setdefault(f"image/{encoder.name}", []).append(encoder.image_features(opened, mode).numpy())
                if texts and encoder.reads_text and start == 0:
                    parts[f"text/{encoder.name}"] = [encoder.text_features(texts).numpy()]
            if style_encoder is not None:
                style = style_encoder.style_features(opened, mode).numpy()
                parts.setdefault(f"style/{style_encoder.name}", []).append(style)
        except NonFiniteFeaturesError as error:
            raise NonFiniteFeaturesError(start + error.index) from error
        if tagger is not None and texts:
            requested, detected = _tag_matrices(opened, prompts[start : start + len(opened)], tagger, concept_names)
            parts.setdefault(f"requested/{tagger.name}", []).append(requested)
            parts.setdefault(f"detected/{tagger.name}", []).append(detected)
    arrays = {key: np.concatenate(part) if len(part) > 1 else part[0] for key, part in parts.items()}
    return FeatureSet(arrays, tuple(prompts))


def _with_predictions(
    features: FeatureSet,
    images: GeneratedImages,
    quality_predictors: Sequence[QualityPredictorLike],
    tagger: TaggerLike | None = None,
    concept_names: Sequence[str] = (),
    reference_images: Sequence[Image.Image] = (),
) -> FeatureSet:
    """Add the predictions of every network of its own to the features of a set of images.

    Networks that serve a metric of prompts are left out where the prompts are unknown.
    """
    if not features.has_prompts:
        kind = images.prompt_type
        quality_predictors = [each for each in quality_predictors if not METRICS[each.metric].needs_prompts(kind)]
    if not quality_predictors:
        return features
    requested = []
    if tagger is not None:
        tags = [requested_tags(prompt.text, tagger.categories, concept_names) for prompt in images.prompts]
        requested = [sorted(own) for own in tags]
    by_encoder = {name: features.arrays[f"image/{name}"] for name in features.encoder_names("image")}
    inputs = PredictionInputs(images.images, by_encoder, images.prompts, requested, reference_images)
    predictions = {f"{each.metric}/{each.name}": each.predict(inputs) for each in quality_predictors}
    return FeatureSet({**features.arrays, **predictions}, features.prompts)


def _prefetch(images: Sequence[Image.Image]) -> Iterator[tuple[int, list[Image.Image]]]:
    """Yield `PREFETCH_IMAGES` images at a time with the index of the first, while the next ones are being opened."""
    if len(images) == 0:
        raise InputError("Argument `images` must hold at least one image, but got none.")
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:

        def submit(start: int) -> Iterator[list[Image.Image]]:
            stop = min(start + PREFETCH_IMAGES, len(images))
            parts = [range(first, min(first + IMAGES_PER_JOB, stop)) for first in range(start, stop, IMAGES_PER_JOB)]
            return pool.map(lambda part: [images[index] for index in part], parts)

        upcoming = submit(0)
        for start in range(0, len(images), PREFETCH_IMAGES):
            opened = [image for part in upcoming for image in part]
            upcoming = submit(start + PREFETCH_IMAGES)
            yield start, opened


def _tag_matrices(
    images: Sequence[Image.Image], prompts: Sequence[PromptSpec], tagger: TaggerLike, concept_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the requested and the detected tags as 0 and 1, the latter only in categories that the prompt names.

    Words that stand for the concept, its names or its description, are not requested: whether an image shows them is
    fidelity.
    """
    categories = tagger.categories
    column = {tag: index for index, tag in enumerate(sorted(categories))}
    requested = np.zeros((len(images), len(column)), dtype=np.uint8)
    detected = np.zeros_like(requested)
    for row, (prompt, tags) in enumerate(zip(prompts, tagger.tags(images), strict=True)):
        named = requested_tags(prompt.text, categories, concept_names)
        named_categories = {categories[tag] for tag in named}
        requested[row, [column[tag] for tag in named]] = 1
        detected[row, [column[tag] for tag in tags if tag in column and categories[tag] in named_categories]] = 1
    return requested, detected
