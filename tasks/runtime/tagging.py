"""Tags and sentences of images, computed once per image."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lycoris.cache.keys import source_hash, stage_key
from lycoris.cache.store import Store
from lycoris.data.concepts import Concept
from lycoris.data.images import IMAGE_SOURCES
from tasks.artifacts import CaptionerRef, RunContext, TaggerRef
from tasks.runtime import log_forwarding, progress, resources

if TYPE_CHECKING:
    from lycoris.captions.sidecar import Sidecars

ResultT = TypeVar("ResultT")
TAGS_DIR = "tags"
TAGGING_SOURCES = ("captions/taggers", "encoders", "pretrained.py", *IMAGE_SOURCES)
"""Library code that tags and sentences depend on."""


@dataclass(frozen=True)
class ImageResults(Generic[ResultT]):
    """What was computed for each image.

    Attributes:
        values: of each valid image, in order.
        invalid: path -> reason, of images that cannot be used.
        cached: whether all values were cached.
    """

    values: list[ResultT]
    invalid: dict[Path, str]
    cached: bool


@dataclass(frozen=True)
class TaggedImages:
    """The tags of a concept's images.

    Attributes:
        images: the valid ones, in order.
        tags: tag -> confidence, for each caption of each of these images; no captions for an image without tags.
        invalid: path -> reason, of images that cannot be used.
        cached: whether all tags were cached.
        from_files: how many images have tags in a file of the user.
    """

    images: list[Path]
    tags: list[tuple[dict[str, float], ...]]
    invalid: dict[Path, str]
    cached: bool
    from_files: int

    @property
    def union(self) -> list[dict[str, float]]:
        """Tag -> confidence for each image, over all its captions."""
        merged: list[dict[str, float]] = []
        for own in self.tags:
            merged.append({})
            for tag, value in itertools.chain.from_iterable(tags.items() for tags in own):
                merged[-1].setdefault(tag, value)
        return merged


def tag_images(
    context: RunContext, concept: Concept, tagger: TaggerRef | None, sidecars: Sidecars, *, purpose: str = ""
) -> TaggedImages:
    """The tags of a concept's images; those in a file of the user override those of the tagger.

    The purpose is shown behind the concept's name in the line of the step.
    """
    paths = [image.path for image in concept.images]
    code, label = source_hash(*TAGGING_SOURCES), f"captions {concept.name}{purpose and f' ({purpose})'}"
    reads_files = tagger is None or tagger.source == "sidecar"
    results: ImageResults[Any]
    if tagger is None or reads_files:
        results = compute_per_image(
            context, label, paths, {"readable": code}, lambda images: [one.size for one in images]
        )
    else:
        results = compute_per_image(
            context,
            label,
            paths,
            {"tagger": tagger.digest, "code": code},
            lambda images: resources.cached_tagger(tagger, context.device).tags(images),
        )
    valid = [path for path in paths if path not in results.invalid]
    own = {path: captions for path in valid if (captions := sidecars.tags(path)) is not None}
    tags = [own.get(path, () if reads_files else (value,)) for path, value in zip(valid, results.values, strict=True)]
    return TaggedImages(valid, tags, results.invalid, results.cached, len(own))


def caption_sentences(
    context: RunContext, concept: Concept, captioner: CaptionerRef | None, sidecars: Sidecars
) -> tuple[list[tuple[str, ...]], bool]:
    """The sentences of each of a concept's images, preferably from a file of the user; and whether all were cached.

    Tags in a text file do not replace a captioner's sentence; without a captioner they are the sentence.
    """
    paths = [image.path for image in concept.images]
    if captioner is None or captioner.source == "sidecar":
        return [sidecars.sentences(path) or () for path in paths], True
    own = {path: sidecars.sentences(path) for path in paths if sidecars.has_sentence(path)}
    sentences: ImageResults[str] = compute_per_image(
        context,
        f"sentence {concept.name}",
        paths,
        {"captioner": captioner.digest, "code": source_hash(*TAGGING_SOURCES)},
        lambda images: resources.cached_captioner(captioner, context.device).sentences(images),
    )
    values = zip(paths, sentences.values, strict=True)
    return [own.get(path) or (value,) for path, value in values], sentences.cached


def compute_per_image(
    context: RunContext,
    label: str,
    paths: Sequence[Path],
    inputs: Mapping[str, Any],
    compute: Callable[[Any], list[ResultT]],
) -> ImageResults[ResultT]:
    """Compute a value for each image that has none in the cache; wait for another run that does the same."""
    from lycoris.captions.taggers.tag_cache import compute_cached

    log_forwarding.connect(context.progress)

    def compute_exclusively(images: Any) -> list[ResultT]:
        with resources.exclusive_compute(context, gpu=True):
            return compute(images)

    started = time.monotonic()
    lock = Store(context.store).lock(stage_key("tags", {**inputs, "images": [str(path) for path in paths]}))
    with lock, progress.track_step(context.progress, label) as bar:
        values, invalid, cached = compute_cached(context.store / TAGS_DIR, inputs, paths, compute_exclusively, bar)
    progress.step_finished(context.progress, label, cached=cached, seconds=time.monotonic() - started)
    return ImageResults(values, invalid, cached)
