"""Caption concepts under each strategy, and build the prompts that follow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from lycoris.captions.concept_tags import ConceptTag
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from tasks.artifacts import CaptionedConcept, ModelRef, RunContext, TaggerRef
from tasks.runtime import resources
from tasks.runtime.tagging import caption_sentences, tags_with_sidecars

if TYPE_CHECKING:
    from lycoris.captions.templates import Templates

logger = logging.getLogger("lycoris.tasks.caption")


@dataclass(frozen=True)
class CaptionRequest:
    """What to caption, and how.

    Attributes:
        concepts: all concepts of the data folder.
        names: concepts to caption; None for all. The tags of the others show which tags are common.
        base: source of the base, whose tokenizers triggers and captions are checked with.
        captioner: of the images; None where no strategy needs sentences.
        strategies: caption strategies.
        counts: prompt type -> number of prompts.
        seed: of the first prompt of each type.
        templates_file: the user's sentences, which override the base's.
        on_invalid_image: ``"skip"`` leaves out an image that cannot be read and logs it, ``"stop"`` is an error.
    """

    concepts: tuple[Concept, ...]
    base: str
    tagger: TaggerRef
    strategies: tuple[str, ...]
    captioner: ModelRef | None = None
    names: tuple[str, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    templates_file: Path | None = None
    on_invalid_image: str = "skip"


@dataclass(frozen=True)
class CaptionResult:
    """A concept with its captions.

    Attributes:
        concept: without the images that cannot be used.
        tags: tag -> confidence, for each image.
        concept_tags: which of them belong to the concept.
        captions: strategy -> one caption per image.
        cached: whether all tags and sentences were cached.
        skipped_images: path -> reason, of images that cannot be used.
        messages: what the user should know about the captions.
    """

    concept: Concept
    tags: list[dict[str, float]]
    concept_tags: list[ConceptTag]
    captions: dict[str, tuple[str, ...]]
    cached: bool
    skipped_images: dict[Path, str]
    messages: list[str]


@task(name="captions")
def caption_concepts(context: RunContext, request: CaptionRequest) -> list[CaptionedConcept]:
    """Caption the requested concepts under each strategy and build their prompts.

    Raises:
        InputError: an image of a requested concept is invalid and the request says to stop; or all its images are.
    """
    from lycoris.captions import build_prompts
    from lycoris.data.concepts import images_digest

    templates = load_templates(request.base, request.templates_file)
    concepts = []
    for result in write_captions(context, request, templates):
        for message in result.messages:
            logger.info("%s", message)
        concept = result.concept
        prompts = {
            strategy: {
                kind: tuple(build_prompts(concept, captions, kind, count, request.seed, templates))
                for kind, count in request.counts.items()
                if count
            }
            for strategy, captions in result.captions.items()
        }
        concepts.append(
            CaptionedConcept(
                name=concept.name,
                category=concept.category,
                trigger=concept.trigger,
                class_noun=concept.class_noun,
                description=concept.description,
                aliases=concept.aliases,
                images_digest=images_digest(concept),
                images=tuple(image.path for image in concept.images),
                captions=result.captions,
                prompts=prompts,
                concept_tags=tuple(asdict(tag) for tag in result.concept_tags),
                cached=result.cached,
                skipped_images={str(path): reason for path, reason in result.skipped_images.items()},
            )
        )
    return concepts


def load_templates(base: str, file: Path | None) -> Templates:
    """The sentences that captions and prompts are built from: those of a base, overridden by the user's."""
    from lycoris.captions import read_templates, templates_for_base

    templates = templates_for_base(base)
    return templates if file is None else read_templates(file, templates)


def write_captions(context: RunContext, request: CaptionRequest, templates: Templates) -> list[CaptionResult]:
    """The captions of the requested concepts under each strategy; see `caption_concepts`."""
    from lycoris.captions import build_captions, find_concept_tags
    from lycoris.captions.token_limits import truncation_warnings
    from lycoris.captions.triggers import trigger_warnings

    concepts = request.concepts
    for name in request.names or ():
        if name not in {concept.name for concept in concepts}:
            raise unknown_name_error("concept", name, [concept.name for concept in concepts])
    tokenizers = resources.cached_tokenizers(request.base)
    about_triggers = trigger_warnings(concepts, tokenizers)
    tagged = {concept.name: tags_with_sidecars(context, concept, request.tagger) for concept in concepts}
    results = []
    for original in concepts:
        if request.names is not None and original.name not in request.names:
            continue
        own = tagged[original.name]
        concept = _without_invalid_images(original, own.invalid, stop=request.on_invalid_image == "stop")
        sentences, sentences_cached = None, True
        if request.captioner is not None:
            sentences, sentences_cached = caption_sentences(context, concept, request.captioner)
        others = [tags.values for name, tags in tagged.items() if name != concept.name]
        concept_tags = find_concept_tags(concept, own.values, others)
        captions = {
            strategy: tuple(build_captions(concept, own.values, concept_tags, strategy, templates, sentences))
            for strategy in request.strategies
        }
        messages = [message for message in about_triggers if f"`{concept.name}`" in message]
        if own.from_sidecars:
            messages.append(
                f"{own.from_sidecars} of {len(concept.images)} images of `{concept.name}` have tags in a text file "
                f"beside them, which override those of the tagger `{request.tagger.source}`."
            )
        messages += [f"Skipped: {reason}" for reason in own.invalid.values()]
        messages += truncation_warnings(concept.name, captions, tokenizers)
        results.append(
            CaptionResult(
                concept, own.values, concept_tags, captions, own.cached and sentences_cached, own.invalid, messages
            )
        )
    return results


def _without_invalid_images(concept: Concept, invalid: Mapping[Path, str], *, stop: bool) -> Concept:
    for reason in invalid.values() if stop else ():
        raise InputError(reason)
    images = tuple(image for image in concept.images if image.path not in invalid)
    if not images:
        reason = next(iter(invalid.values()))
        raise InputError(f"None of the {len(invalid)} images of `{concept.name}` can be used. {reason}")
    return replace(concept, images=images)
