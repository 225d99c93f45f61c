"""What the encoders see in images, computed once per (encoder, set of images), a few images in memory at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lycoris.data.prompt_spec import PromptSpec
from lycoris.encoders import Encoder, StyleEncoder
from lycoris.encoders.batch_encoding import MAX_THREADS, NonFiniteFeaturesError
from lycoris.errors import InputError
from lycoris.metrics.features import FeatureSet, GeneratedImages
from lycoris.metrics.registry import needs_style_features

PREFETCH_IMAGES = 128
"""Images that are open at a time, and as many again that are being opened; a multiple of every batch size."""
IMAGES_PER_JOB = 8
"""Images that one thread opens at a time."""


@runtime_checkable
class TaggerLike(Protocol):
    """What is asked of a tagger: its tags with their categories, and the tags of images with confidence."""

    @property
    def name(self) -> str: ...
    @property
    def categories(self) -> Mapping[str, str]: ...
    def tags(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, float]]: ...


@runtime_checkable
class QualityPredictorLike(Protocol):
    """What is asked of a rater: the metric it serves, and rows of numbers for images; see
    `lycoris.metrics.quality_predictors`."""

    @property
    def metric(self) -> str: ...
    @property
    def name(self) -> str: ...
    def predict(self, images: Sequence[Image.Image], features_by_encoder: Mapping[str, np.ndarray]) -> np.ndarray: ...


def encode(
    generated: Mapping[str, GeneratedImages | FeatureSet],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    concept_names: Sequence[str] = (),
    quality_predictors: Sequence[QualityPredictorLike] = (),
    mode: str = "resize",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, FeatureSet]:
    """The features of every prompt type's drawings, as `compare` wants them.

    Args:
        drawings: prompt type -> drawings; what is encoded already passes through.
        encoders: image and text-image encoders, of unlike names.
        style_encoder: used where a metric needs it: for ``style`` prompts and for concepts that are styles.
        category: of the concept.
        tagger: gives attribute recall and precision; without one there are none.
        names: what stands for the concept in its prompts, such as "sks bear": no tag in it is asked for.
        raters: networks of single metrics, such as those of image quality.
        mode: ``resize``, ``crop`` or ``padding``.
        progress: called with (sets done, sets in all).

    Raises:
        InputError: images and prompts are of unlike number, or two encoders share a name.
    """
    result: dict[str, FeatureSet] = {}
    for done, (kind, given) in enumerate(generated.items(), start=1):
        if isinstance(given, FeatureSet):
            result[kind] = given
        else:
            style = style_encoder if needs_style_features(kind, category) else None
            result[kind] = _encode_images(
                given.images, encoders, style, given.prompts, tagger, concept_names, quality_predictors, mode
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
    mode: str = "resize",
) -> FeatureSet:
    """The features of the dataset's pictures; arguments as for `encode`."""
    if isinstance(references, FeatureSet):
        return references
    style = style_encoder if needs_style_features("references", category) else None
    return _encode_images(references, encoders, style, (), None, (), (), mode)


def requested_tags(text: str, categories: Mapping[str, str], concept_names: Sequence[str] = ()) -> set[str]:
    """The tags that a text names beside the concept: those whose words stand in it, as whole words and in order."""
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
    quality_predictors: Sequence[QualityPredictorLike],
    mode: str,
) -> FeatureSet:
    if prompts and len(prompts) != len(images):
        raise InputError(f"There must be one prompt an image, but got {len(prompts)} for {len(images)} images.")
    eyes = [encoder.name for encoder in encoders]
    if len(set(eyes)) != len(eyes):
        raise InputError(f"Argument `encoders` must have unlike names, but got {', '.join(eyes)}.")
    parts: dict[str, list[np.ndarray]] = {}
    texts = [prompt.evaluation for prompt in prompts]
    for start, shown in _prefetch(images):
        try:
            for encoder in encoders:
                parts.setdefault(f"image/{encoder.name}", []).append(encoder.image_features(shown, mode).numpy())
                if prompts and encoder.reads_text and start == 0:
                    parts[f"text/{encoder.name}"] = [encoder.text_features(texts).numpy()]
            if style_encoder is not None:
                seen = style_encoder.style_features(shown, mode).numpy()
                parts.setdefault(f"style/{style_encoder.name}", []).append(seen)
        except NonFiniteFeaturesError as error:
            raise NonFiniteFeaturesError(start + error.index) from error
        if tagger is not None and prompts:
            wanted, found = _tag_matrices(shown, prompts[start : start + len(shown)], tagger, concept_names)
            parts.setdefault(f"wanted/{tagger.name}", []).append(wanted)
            parts.setdefault(f"found/{tagger.name}", []).append(found)
    arrays = {key: np.concatenate(each) if len(each) > 1 else each[0] for key, each in parts.items()}
    seen_by = {encoder.name: arrays[f"image/{encoder.name}"] for encoder in encoders}
    arrays |= {f"{rater.metric}/{rater.name}": rater.predict(images, seen_by) for rater in quality_predictors}
    return FeatureSet(arrays, tuple(prompts))


def _prefetch(images: Sequence[Image.Image]) -> Iterator[tuple[int, list[Image.Image]]]:
    """The images, `AHEAD` at a time, with the place of the first; the next are opened while these are looked at."""
    if len(images) == 0:
        raise InputError("Argument `images` must hold at least one picture, but got none.")
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:

        def ahead(start: int) -> Iterator[list[Image.Image]]:
            stop = min(start + PREFETCH_IMAGES, len(images))
            parts = [range(first, min(first + IMAGES_PER_JOB, stop)) for first in range(start, stop, IMAGES_PER_JOB)]
            return pool.map(lambda part: [images[place] for place in part], parts)

        coming = ahead(0)
        for start in range(0, len(images), PREFETCH_IMAGES):
            shown = [image for part in coming for image in part]
            coming = ahead(start + PREFETCH_IMAGES)
            yield start, shown


def _tag_matrices(
    images: Sequence[Image.Image], prompts: Sequence[PromptSpec], tagger: TaggerLike, concept_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """What prompts name and what images show, as 0 and 1; of the latter only tags of a category asked for.

    The words that stand for the concept, by name or in `evaluation`, are not asked for: whether a drawing shows them is
    fidelity.
    """
    categories = tagger.categories
    column = {tag: index for index, tag in enumerate(sorted(categories))}
    wanted = np.zeros((len(images), len(column)), dtype=np.uint8)
    found = np.zeros_like(wanted)
    for row, (prompt, seen) in enumerate(zip(prompts, tagger.tags(images), strict=True)):
        named = requested_tags(prompt.text, categories, concept_names)
        kinds = {categories[tag] for tag in named}
        wanted[row, [column[tag] for tag in named]] = 1
        found[row, [column[tag] for tag in seen if tag in column and categories[tag] in kinds]] = 1
    return wanted, found
