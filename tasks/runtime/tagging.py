"""Tags and sentences of images, computed once per image."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from lycoris.cache.keys import source_hash, stage_key
from lycoris.cache.store import Store
from lycoris.data.concepts import Concept
from tasks.artifacts import ModelRef, RunContext, TaggerRef
from tasks.runtime import log_forwarding, progress, resources

ResultT = TypeVar("ResultT")
TAGS_DIR = "tags"
TAGGING_SOURCES = ("captions/taggers", "encoders", "pretrained.py", "data/images.py")
"""Library code that tags and sentences depend on."""


@dataclass(frozen=True)
class ImageResults(Generic[ResultT]):
    """What was computed for each image.

    Attributes:
        values: of each valid image, in order.
        invalid: path -> reason, of images that cannot be used.
        cached: whether all values were cached.
        from_sidecars: how many values are from a text file beside the image.
    """

    values: list[ResultT]
    invalid: dict[Path, str]
    cached: bool
    from_sidecars: int = 0


def tags_with_sidecars(context: RunContext, concept: Concept, tagger: TaggerRef) -> ImageResults[dict[str, float]]:
    """The tags of a concept's images; tags in a text file beside an image override those of the tagger."""
    from lycoris.captions import read_sidecar_tags
    from lycoris.captions.sidecar import TAGS_SUFFIX

    tags = tag_images(context, concept, tagger)
    if tagger.source == "sidecar":
        return tags
    paths = [image.path for image in concept.images if image.path not in tags.invalid]
    with_sidecar = [path for path in paths if path.with_suffix(TAGS_SUFFIX).is_file()]
    own = dict(zip(with_sidecar, read_sidecar_tags(with_sidecar), strict=True))
    values = [own.get(path, value) for path, value in zip(paths, tags.values, strict=True)]
    return replace(tags, values=values, from_sidecars=len(own))


def tag_images(context: RunContext, concept: Concept, tagger: TaggerRef) -> ImageResults[dict[str, float]]:
    """The tagger's tags of a concept's images, or those of the text files beside them."""
    from lycoris.captions import read_sidecar_tags

    paths = [image.path for image in concept.images]
    code, label = source_hash(*TAGGING_SOURCES), f"captions {concept.name}"
    if tagger.source == "sidecar":
        sizes = _run_cached(context, label, paths, {"readable": code}, lambda images: [one.size for one in images])
        tags = read_sidecar_tags([path for path in paths if path not in sizes.invalid])
        return ImageResults(tags, sizes.invalid, sizes.cached)
    return _run_cached(
        context,
        label,
        paths,
        {"tagger": tagger.digest, "code": code},
        lambda images: resources.cached_tagger(tagger, context.device).tags(images),
    )


def caption_sentences(context: RunContext, concept: Concept, captioner: ModelRef) -> tuple[list[str], bool]:
    """A sentence for each of a concept's images, preferably from a text file beside it; and whether all were cached."""
    from lycoris.captions import read_sidecar_sentences
    from lycoris.captions.sidecar import SENTENCE_SUFFIX

    paths = [image.path for image in concept.images]
    if captioner.source == "sidecar":
        return read_sidecar_sentences(paths), True
    with_sidecar = [path for path in paths if path.with_suffix(SENTENCE_SUFFIX).is_file()]
    own = dict(zip(with_sidecar, read_sidecar_sentences(with_sidecar), strict=True))
    sentences: ImageResults[str] = _run_cached(
        context,
        f"sentence {concept.name}",
        paths,
        {"captioner": captioner.digest, "code": source_hash(*TAGGING_SOURCES)},
        lambda images: resources.cached_captioner(captioner.source, context.device).sentences(images),
    )
    return [own.get(path, value) for path, value in zip(paths, sentences.values, strict=True)], sentences.cached


def _run_cached(
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
