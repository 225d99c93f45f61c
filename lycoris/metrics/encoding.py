"""What the encoders see in images, computed once per (encoder, set of images), a few images in memory at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lycoris.encoders import Encoder, StyleEncoder
from lycoris.encoders.batch_encoding import WORKERS, NotFiniteError
from lycoris.errors import InputError
from lycoris.metrics.features import Condition, Drawings, FeatureSet, PromptLike
from lycoris.metrics.registry import needs_style

AHEAD = 128
"""Images that are open at a time, and as many again that are being opened; a multiple of every batch size."""
TOGETHER = 8
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
class RaterLike(Protocol):
    """What is asked of a rater: the metric it serves, and rows of numbers for images; see `lycoris.metrics.quality_predictors`."""

    @property
    def metric(self) -> str: ...
    @property
    def name(self) -> str: ...
    def rows(self, images: Sequence[Image.Image], seen: Mapping[str, np.ndarray]) -> np.ndarray: ...


def encode(
    drawings: Mapping[str, Drawings | FeatureSet],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    names: Sequence[str] = (),
    raters: Sequence[RaterLike] = (),
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
    for done, (kind, given) in enumerate(drawings.items(), start=1):
        if isinstance(given, FeatureSet):
            result[kind] = given
        else:
            style = style_encoder if needs_style(kind, category) else None
            result[kind] = _encode(given.images, encoders, style, given.prompts, tagger, names, raters, mode)
        if progress:
            progress(done, len(drawings))
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
    style = style_encoder if needs_style("references", category) else None
    return _encode(references, encoders, style, (), None, (), (), mode)


def wanted_tags(text: str, categories: Mapping[str, str], names: Sequence[str] = ()) -> set[str]:
    """The tags that a text names beside the concept: those whose words stand in it, as whole words and in order."""
    words = f" {_words(text)} "
    for name in names:
        words = words.replace(f" {_words(name)} ", " . ")
    return {tag for tag in categories if f" {_words(tag)} " in words}


def _words(tag: str) -> str:
    return " ".join(re.findall(r"\w+", tag.lower().replace("_", " ")))


def _encode(
    images: Sequence[Image.Image],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None,
    prompts: Sequence[PromptLike],
    tagger: TaggerLike | None,
    names: Sequence[str],
    raters: Sequence[RaterLike],
    mode: str,
) -> FeatureSet:
    if prompts and len(prompts) != len(images):
        raise InputError(f"There must be one prompt an image, but got {len(prompts)} for {len(images)} images.")
    eyes = [encoder.name for encoder in encoders]
    if len(set(eyes)) != len(eyes):
        raise InputError(f"Argument `encoders` must have unlike names, but got {', '.join(eyes)}.")
    parts: dict[str, list[np.ndarray]] = {}
    texts = [prompt.evaluation for prompt in prompts]
    for start, shown in _opened(images):
        try:
            for encoder in encoders:
                parts.setdefault(f"image/{encoder.name}", []).append(encoder.image_features(shown, mode).numpy())
                if prompts and encoder.reads_text and start == 0:
                    parts[f"text/{encoder.name}"] = [encoder.text_features(texts).numpy()]
            if style_encoder is not None:
                seen = style_encoder.style_features(shown, mode).numpy()
                parts.setdefault(f"style/{style_encoder.name}", []).append(seen)
        except NotFiniteError as error:
            raise NotFiniteError(start + error.image) from error
        if tagger is not None and prompts:
            wanted, found = _tags(shown, prompts[start : start + len(shown)], tagger, names)
            parts.setdefault(f"wanted/{tagger.name}", []).append(wanted)
            parts.setdefault(f"found/{tagger.name}", []).append(found)
    arrays = {key: np.concatenate(each) if len(each) > 1 else each[0] for key, each in parts.items()}
    seen_by = {encoder.name: arrays[f"image/{encoder.name}"] for encoder in encoders}
    arrays |= {f"{rater.metric}/{rater.name}": rater.rows(images, seen_by) for rater in raters}
    conditions = tuple(Condition(p.text, p.evaluation, int(p.seed), int(p.group)) for p in prompts)
    return FeatureSet(arrays, conditions)


def _opened(images: Sequence[Image.Image]) -> Iterator[tuple[int, list[Image.Image]]]:
    """The images, `AHEAD` at a time, with the place of the first; the next are opened while these are looked at."""
    if len(images) == 0:
        raise InputError("Argument `images` must hold at least one picture, but got none.")
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:

        def ahead(start: int) -> Iterator[list[Image.Image]]:
            stop = min(start + AHEAD, len(images))
            parts = [range(first, min(first + TOGETHER, stop)) for first in range(start, stop, TOGETHER)]
            return pool.map(lambda part: [images[place] for place in part], parts)

        coming = ahead(0)
        for start in range(0, len(images), AHEAD):
            shown = [image for part in coming for image in part]
            coming = ahead(start + AHEAD)
            yield start, shown


def _tags(
    images: Sequence[Image.Image], prompts: Sequence[PromptLike], tagger: TaggerLike, names: Sequence[str]
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
        named = wanted_tags(prompt.text, categories, names)
        kinds = {categories[tag] for tag in named}
        wanted[row, [column[tag] for tag in named]] = 1
        found[row, [column[tag] for tag in seen if tag in column and categories[tag] in kinds]] = 1
    return wanted, found
