"""Tag every picture once, and turn tags into captions and prompts under each strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import Store, source_hash, stage_key
from lycoris.captions.concept_tags import ConceptTag
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from tasks.artifacts import CaptionedConcept, RunContext, TaggerRef
from tasks.runtime import progress, resources

TAGS_DIR = "seen"
TAGGING_SOURCES = ("captions/taggers", "encoders", "data/images.py")
"""The code that tags and sentences depend on."""


@dataclass(frozen=True)
class CaptionResult:
    """A concept and all that is said of its pictures.

    Attributes:
        concept: without the pictures that cannot be used.
        tags: tag -> confidence for each picture.
        inherent: which of them belong to the concept.
        captions: strategy -> one caption a picture.
        cached: whether tags and sentences were there already.
        set_aside: what is wrong with the pictures that cannot be used.
        notes: what the user should know of it, in sentences.
    """

    concept: Concept
    tags: list[dict[str, float]]
    concept_tags: list[ConceptTag]
    captions: dict[str, tuple[str, ...]]
    cached: bool
    skipped_images: dict[Path, str]
    messages: list[str]


@task(name="captions")
def caption_concepts(
    context: RunContext,
    *,
    data: Path,
    concepts_file: Path | None,
    names: Sequence[str] | None,
    tagger: TaggerRef,
    captioner: tuple[str, str] | None = None,
    base: str,
    strategies: Sequence[str],
    counts: Mapping[str, int],
    seed: int,
    templates_file: Path | None = None,
    on_invalid_image: str = "skip",
) -> list[CaptionedConcept]:
    """Caption the chosen concepts under each strategy and write the prompts that follow.

    Args:
        place: where what was seen in a picture is kept.
        data: the folder of pictures.
        concepts_file: None for the one in the folder.
        names: the concepts to caption; None for all. The tags of the others say what is common.
        tagger: how it is opened, and its digest.
        captioner: its source and the digest of its files; None when no strategy asks for sentences.
        base: the base's source, whose tokenizers triggers and captions are held against.
        strategies: of `lycoris.captions.STRATEGIES`.
        counts: prompt type -> how many prompts.
        seed: of the first prompt of each type.
        templates_file: the user's sentences over the base's.
        on_invalid_image: ``"skip"`` leaves a picture that cannot be read out of all that follows and tells of
            it, ``"stop"`` is an error.

    Returns:
        One record a chosen concept.

    Raises:
        InputError: a picture of a chosen concept is bad, and this is to stop; or none of its pictures is good.
    """
    from lycoris.captions import build_prompts
    from lycoris.data.concepts import images_digest

    templates = load_templates(base, templates_file)
    written = write_captions(
        context, data=data, concepts_file=concepts_file, names=names, tagger=tagger, captioner=captioner, base=base,
        strategies=strategies, templates=templates, stop=on_invalid_image == "stop",
    )  # fmt: skip
    records = []
    for one in written:
        for text in one.messages:
            progress.message(context.progress, text)
        asked = {
            name: {
                kind: tuple(asdict(p) for p in build_prompts(one.concept, texts, kind, count, seed, templates))
                for kind, count in counts.items()
                if count
            }
            for name, texts in one.captions.items()
        }
        records.append(
            CaptionedConcept(
                name=one.concept.name,
                category=one.concept.category,
                trigger=one.concept.trigger,
                class_noun=one.concept.class_noun,
                description=one.concept.description,
                names=one.concept.aliases,
                images_digest=images_digest(one.concept),
                images=tuple(picture.path for picture in one.concept.images),
                captions=one.captions,
                prompts=asked,
                concept_tags=tuple(asdict(entry) for entry in one.concept_tags),
                cached=one.cached,
                skipped_images={str(path): reason for path, reason in one.skipped_images.items()},
            )
        )
    return records


def load_templates(base: str, file: Path | None) -> Any:
    """The sentences that captions and prompts are made with: a base's, the user's over them."""
    from lycoris.captions import read_templates, templates_for_base

    templates = templates_for_base(base)
    return templates if file is None else read_templates(file, templates)


def write_captions(
    context: RunContext,
    *,
    data: Path,
    concepts_file: Path | None,
    names: Sequence[str] | None,
    tagger: TaggerRef,
    captioner: tuple[str, str] | None,
    base: str,
    strategies: Sequence[str],
    templates: Any,
    stop: bool,
) -> list[CaptionResult]:
    """The captions of the chosen concepts under each strategy; see `captions`."""
    from lycoris.captions import build_captions, find_concept_tags
    from lycoris.captions.token_limits import truncation_warnings
    from lycoris.captions.triggers import trigger_warnings
    from lycoris.data.concepts import load_concepts

    everything = load_concepts(data, concepts_file, on_message=lambda text: progress.message(context.progress, text))
    for name in names or ():
        if name not in {concept.name for concept in everything}:
            raise unknown_name_error("concept", name, [concept.name for concept in everything])
    tokenizers = resources.cached_tokenizers(base)
    about_triggers = trigger_warnings(everything, tokenizers)
    tags, known, bad, own = {}, {}, {}, {}
    for concept in everything:
        tags[concept.name], bad[concept.name], known[concept.name], own[concept.name] = tags_with_sidecars(
            context, concept, tagger
        )
    written = []
    for given in everything:
        if names is not None and given.name not in names:
            continue
        reasons = bad[given.name]
        concept = _without_invalid_images(given, reasons, stop=stop)
        told, also = caption_sentences(context, concept, captioner) if captioner is not None else (None, True)
        inherent = find_concept_tags(
            concept, tags[concept.name], [tags[other.name] for other in everything if other.name != concept.name]
        )
        texts = {
            name: tuple(build_captions(concept, tags[concept.name], inherent, name, templates, told))
            for name in strategies
        }
        notes = [note for note in about_triggers if f"`{concept.name}`" in note]
        if own[concept.name]:
            notes.append(
                f"{own[concept.name]} of {len(concept.images)} pictures of `{concept.name}` have tags in a text file "
                f"beside them, which go before those of the tagger `{tagger.source}`."
            )
        notes += [*(f"Set aside: {reason}" for reason in reasons.values())]
        notes += truncation_warnings(concept.name, texts, tokenizers)
        written.append(
            CaptionResult(concept, tags[concept.name], inherent, texts, known[concept.name] and also, reasons, notes)
        )
    return written


def _without_invalid_images(concept: Concept, invalid_images: Mapping[Path, str], *, stop: bool) -> Concept:
    """A concept without its bad pictures."""
    for reason in invalid_images.values() if stop else ():
        raise InputError(reason)
    pictures = tuple(picture for picture in concept.images if picture.path not in invalid_images)
    if not pictures:
        raise InputError(
            f"None of the {len(invalid_images)} pictures of `{concept.name}` can be used. {next(iter(invalid_images.values()))}"  # noqa: E501
        )
    return replace(concept, images=pictures)


def tags_with_sidecars(
    context: RunContext, concept: Concept, tagger: TaggerRef
) -> tuple[list[dict[str, float]], dict[Path, str], bool, int]:
    """As `look`; but what stands beside a picture goes before the tagger. Also of how many pictures that is so."""
    from lycoris.captions import read_sidecar_tags
    from lycoris.captions.sidecar import TAGS_SUFFIX

    tags, bad, known = tag_images(context, concept, tagger)
    if tagger.source == "sidecar":
        return tags, bad, known, 0
    paths = [picture.path for picture in concept.images if picture.path not in bad]
    beside = [path for path in paths if path.with_suffix(TAGS_SUFFIX).is_file()]
    own = dict(zip(beside, read_sidecar_tags(beside), strict=True))
    return [own.get(path, seen) for path, seen in zip(paths, tags, strict=True)], bad, known, len(own)


def tag_images(
    context: RunContext, concept: Concept, tagger: TaggerRef
) -> tuple[list[dict[str, float]], dict[Path, str], bool]:
    """The tags of a concept's good pictures, what is wrong with the others, and whether all was known."""
    from lycoris.captions import read_sidecar_tags

    paths = [picture.path for picture in concept.images]
    code, label = source_hash(*TAGGING_SOURCES), f"captions {concept.name}"
    if tagger.source == "sidecar":
        _, bad, known = _run_cached(
            context, label, paths, {"readable": code}, lambda images: [one.size for one in images]
        )
        return read_sidecar_tags([path for path in paths if path not in bad]), bad, known
    return _run_cached(
        context, label, paths, {"tagger": tagger.digest, "code": code},
        lambda images: resources.cached_tagger(tagger, context.device).tags(images),
    )  # fmt: skip


def caption_sentences(context: RunContext, concept: Concept, captioner: tuple[str, str]) -> tuple[list[str], bool]:
    """The sentences of a concept's pictures, those beside them first, and whether all were known."""
    from lycoris.captions import read_sidecar_sentences
    from lycoris.captions.sidecar import SENTENCE_SUFFIX

    source, digest = captioner
    paths = [picture.path for picture in concept.images]
    if source == "sidecar":
        return read_sidecar_sentences(paths), True
    beside = [path for path in paths if path.with_suffix(SENTENCE_SUFFIX).is_file()]
    own = dict(zip(beside, read_sidecar_sentences(beside), strict=True))
    sentences, _, known = _run_cached(
        context, f"sentence {concept.name}", paths, {"captioner": digest, "code": source_hash(*TAGGING_SOURCES)},
        lambda images: resources.cached_captioner(source, context.device).sentences(images),
    )  # fmt: skip
    return [own.get(path, sentence) for path, sentence in zip(paths, sentences, strict=True)], known


def _run_cached(
    context: RunContext,
    label: str,
    paths: Sequence[Path],
    inputs: Mapping[str, Any],
    compute: Callable[[Any], list[Any]],
) -> tuple[list[Any], dict[Path, str], bool]:
    """What is seen in each picture, looked at only where it was not before; another run that does it is waited for."""
    from lycoris.captions.taggers.tag_cache import compute_cached

    def look(images: Any) -> list[Any]:
        with resources.exclusive_compute(context, gpu=True):
            return compute(images)

    started = time.monotonic()
    store = Store(context.store)
    mine = store.lock(stage_key("seen", {**inputs, "pictures": [str(path) for path in paths]}))
    with mine, progress.track_step(context.progress, label) as bar:
        found, bad, known = compute_cached(
            context.store / TAGS_DIR, inputs, paths, look, bar, lambda text: progress.message(context.progress, text)
        )
    progress.step_finished(context.progress, label, cached=known, seconds=time.monotonic() - started)
    return found, bad, known
