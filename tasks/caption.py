"""Caption concepts under each strategy, and build the prompts that follow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from lycoris.captions.concept_tags import ConceptTag, ImageTags, find_concept_tags
from lycoris.captions.coverage import check_coverage, coverage_notes
from lycoris.captions.sidecar import SIDECAR, Sidecars
from lycoris.captions.strategies import build_captions
from lycoris.captions.token_limits import truncation_warnings
from lycoris.captions.triggers import trigger_warnings
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import redacting_errors
from lycoris.terms import SENTENCE_STRATEGIES, TAGGED_STRATEGIES
from tasks.artifacts import BaseOptions, CaptionedConcept, CaptionerRef, RunContext, TaggerRef
from tasks.runtime import resources
from tasks.runtime.duplicates import find_duplicates
from tasks.runtime.tagging import TaggedImages, caption_sentences, tag_images

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
        base_options: how the base's files are read.
        tagger: of the images; None where the user's captions are all there is.
        captioner: of the images; None likewise, or where no strategy needs sentences.
        strategies: caption strategies.
        counts: prompt type -> number of prompts.
        seed: of the first prompt of each type.
        templates_file: the user's sentences, which override the base's.
        on_invalid_image: ``"skip"`` leaves out an image that cannot be read and logs it, ``"stop"`` is an error.
    """

    concepts: tuple[Concept, ...]
    base: str
    tagger: TaggerRef | None
    strategies: tuple[str, ...]
    captioner: CaptionerRef | None = None
    names: tuple[str, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    templates_file: Path | None = None
    on_invalid_image: str = "skip"
    base_options: BaseOptions = BaseOptions()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class CaptionResult:
    """A concept with its captions.

    Attributes:
        concept: without the images that cannot be used.
        tags: tag -> confidence, for each image.
        concept_tags: which of them belong to the concept.
        captions: strategy -> one caption per image; the first one of several.
        alternatives: strategy -> all captions of each image, where one has several.
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
    alternatives: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)


@task(name="captions", task_run_name="captions")
@redacting_errors
def caption_concepts(context: RunContext, request: CaptionRequest) -> list[CaptionedConcept]:
    """Caption the requested concepts under each strategy and build their prompts.

    Raises:
        InputError: an image of a requested concept is invalid and the request says to stop; or all its images are.
    """
    from lycoris.captions import build_prompts
    from lycoris.captions.prior import prior_captions
    from lycoris.data.concepts import images_digest, prior_digest

    templates = load_templates(request.base, request.templates_file)
    concepts = []
    results = write_captions(context, request, templates)
    resources.cached_captioner.cache_clear()  # it may be as large as the base, which is trained next
    for result in results:
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
                alternatives=result.alternatives,
                repeats=_repeats(concept),
                prior_images=tuple(image.path for image in concept.prior_images),
                prior_captions=tuple(prior_captions(concept, templates)),
                prior_digest=prior_digest(concept) if concept.prior_images else "",
                prompts=prompts,
                concept_tags=tuple(asdict(tag) for tag in result.concept_tags),
                cached=result.cached,
                skipped_images={str(path): reason for path, reason in result.skipped_images.items()},
                captioned_by={strategy: captioned_by(request, strategy) for strategy in result.captions},
            )
        )
    return concepts


def captioned_by(request: CaptionRequest, strategy: str) -> dict[str, str]:
    """The models that wrote the captions of a strategy where the user has none, and what they were asked for."""
    models: dict[str, TaggerRef | CaptionerRef | None] = {}
    if strategy in TAGGED_STRATEGIES:
        models["tagger"] = request.tagger
    if strategy in SENTENCE_STRATEGIES:
        models["captioner"] = request.captioner
    record: dict[str, str] = {}
    for role, model in models.items():
        record |= {role: SIDECAR} if model is None else {role: model.source, f"{role}.digest": model.digest}
        if isinstance(model, CaptionerRef) and model.prompt is not None:
            record |= {"instruction": model.prompt}
    return record


def _repeats(concept: Concept) -> tuple[int, ...]:
    repeats = tuple(image.repeats for image in concept.images)
    return repeats if max(repeats) > 1 else ()


def load_templates(base: str, file: Path | None) -> Templates:
    """The sentences that captions and prompts are built from: those of a base, overridden by the user's."""
    from lycoris.captions import read_templates, templates_for_base

    templates = templates_for_base(base)
    return templates if file is None else read_templates(file, templates)


def write_captions(context: RunContext, request: CaptionRequest, templates: Templates) -> list[CaptionResult]:
    """The captions of the requested concepts under each strategy; see `caption_concepts`."""
    concepts = request.concepts
    for name in request.names or ():
        if name not in {concept.name for concept in concepts}:
            raise unknown_name_error("concept", name, [concept.name for concept in concepts])
    tokenizers = resources.cached_tokenizers(request.base, request.base_options)
    about_triggers = trigger_warnings(concepts, tokenizers)
    images = [image for concept in concepts for image in concept.images]
    sidecars = Sidecars.read([image.path for image in images], images[0].root)
    tagged = {
        concept.name: tag_images(
            context,
            concept,
            request.tagger,
            sidecars,
            purpose="" if request.names is None or concept.name in request.names else "tags, to compare with",
        )
        for concept in concepts
    }
    results = []
    for concept in concepts:
        if request.names is not None and concept.name not in request.names:
            continue
        others = [tags.union for name, tags in tagged.items() if name != concept.name]
        captioning = _Captioning(context, request, templates, sidecars)
        result = captioning.write(concept, tagged[concept.name], others)
        messages = [message for message in about_triggers if f"`{concept.name}`" in message]
        limit = request.base_options.max_token_length
        messages += [*result.messages, *truncation_warnings(concept.name, result.captions, tokenizers, limit)]
        messages += find_duplicates(context, result.concept)
        results.append(replace(result, messages=messages))
    return results


@dataclass(frozen=True)
class _Captioning:
    """Writes the captions of one concept after another."""

    context: RunContext
    request: CaptionRequest
    templates: Templates
    sidecars: Sidecars

    def write(self, original: Concept, own: TaggedImages, others: Sequence[ImageTags]) -> CaptionResult:
        """Caption a concept, given its tags and those of the others."""
        request, sidecars = self.request, self.sidecars
        concept = _without_invalid_images(original, own.invalid, stop=request.on_invalid_image == "stop")
        tagger = None if request.tagger is None else request.tagger.source
        captioner = None if request.captioner is None else request.captioner.source
        sources: Any = {"tagger": tagger, "captioner": captioner}
        check_coverage(concept.name, own.images, sidecars, request.strategies, **sources)
        sentences: list[tuple[str, ...]] = [()] * len(own.images)
        sentences_cached = True
        if SENTENCE_STRATEGIES.intersection(request.strategies):
            sentences, sentences_cached = caption_sentences(self.context, concept, request.captioner, sidecars)
        concept_tags = find_concept_tags(concept, own.union, others)
        alternatives = {
            strategy: tuple(self._captions(concept, own, concept_tags, strategy, sentences))
            for strategy in request.strategies
        }
        messages = coverage_notes(concept.name, own.images, sidecars, request.strategies, **sources)
        messages += [f"Skipped: {reason}" for reason in own.invalid.values()]
        return CaptionResult(
            concept,
            own.union,
            concept_tags,
            {strategy: tuple(each[0] for each in captions) for strategy, captions in alternatives.items()},
            own.cached and sentences_cached,
            own.invalid,
            messages,
            {strategy: every for strategy, every in alternatives.items() if any(len(each) > 1 for each in every)},
        )

    def _captions(
        self,
        concept: Concept,
        own: TaggedImages,
        concept_tags: Sequence[ConceptTag],
        strategy: str,
        sentences: Sequence[tuple[str, ...]],
    ) -> Iterator[tuple[str, ...]]:
        """All captions of each image; an image with fewer than another repeats its last one, which counts once."""
        tags = [each or ({},) for each in own.tags]
        texts = [each or ("",) for each in sentences]
        count = max(len(each) for each in (texts if strategy in SENTENCE_STRATEGIES else tags))
        columns = [
            build_captions(
                concept,
                [each[min(number, len(each) - 1)] for each in tags],
                concept_tags,
                strategy,
                self.templates,
                [each[min(number, len(each) - 1)] for each in texts],
            )
            for number in range(count)
        ]
        for captions in zip(*columns, strict=True):
            yield tuple(dict.fromkeys(captions))


def _without_invalid_images(concept: Concept, invalid: Mapping[Path, str], *, stop: bool) -> Concept:
    for reason in invalid.values() if stop else ():
        raise InputError(reason)
    images = tuple(image for image in concept.images if image.path not in invalid)
    if not images:
        reason = next(iter(invalid.values()))
        raise InputError(f"None of the {len(invalid)} images of `{concept.name}` can be used. {reason}")
    return replace(concept, images=images)
