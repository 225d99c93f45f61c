"""Tag strategies: what a training caption says besides the trigger (arXiv 2309.14859, section 4.1).

``none`` says nothing more, as in DreamBooth; ``all`` adds every tag; ``adjusted`` adds the tags that do not belong
to the concept itself, so that the trigger comes to stand for those that do; ``sentence`` adds a captioner's sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lycoris.captions.concept_tags import ConceptTag, normalize_tag
from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.templates import Templates
from lycoris.captions.trigger_text import with_trigger
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import SENTENCE_STRATEGIES


@dataclass(frozen=True)
class TaggedImage:
    """What is known of one picture.

    Attributes:
        tags: tag -> confidence, best first.
        inherent: the tags that belong to the concept, or to the picture's subclass, as `plain_tag` writes them.
        sentence: a captioner's.
    """

    tags: Mapping[str, float]
    inherent: frozenset[str]
    sentence: str = ""


Strategy = Callable[[TaggedImage], list[str]]


def no_tags(image: TaggedImage) -> list[str]:
    """No tags: the trigger has to stand for everything in the pictures."""
    return []


def all_tags(image: TaggedImage) -> list[str]:
    """Every tag that was found, best first."""
    return list(image.tags)


def adjusted_tags(image: TaggedImage) -> list[str]:
    """Every tag but those that belong to the concept."""
    return [tag for tag in image.tags if normalize_tag(tag) not in image.inherent]


def sentence_only(image: TaggedImage) -> list[str]:
    """The sentence, if there is one."""
    return [image.sentence] if image.sentence else []


STRATEGY_FUNCTIONS: dict[str, Strategy] = {
    "none": no_tags,
    "all": all_tags,
    "adjusted": adjusted_tags,
    "sentence": sentence_only,
}
"""Name -> what the caption of a picture says behind the trigger. A new strategy is one line."""


def build_captions(
    concept: Concept,
    tags: Sequence[Mapping[str, float]],
    concept_tags: Sequence[ConceptTag],
    strategy: str,
    templates: Templates | None = None,
    sentences: Sequence[str] | None = None,
) -> list[str]:
    """The training captions of a concept's pictures, in their order: "a sks creature, hat, beach".

    Nothing is said twice, and a sentence that speaks of the trigger itself stands alone.

    Args:
        concept: what the pictures show.
        tags: tag -> confidence for each picture, best first.
        inherent: from `inherent_tags`.
        strategy: of `STRATEGIES`.
        templates: how a concept is named in a sentence; those of the pocket by default.
        sentences: one a picture, for the strategies of `SENTENCES`.

    Raises:
        InputError: the strategy is unknown, there is not one entry for each picture, or no sentences where the
            strategy needs them.
    """
    if strategy not in STRATEGY_FUNCTIONS:
        raise unknown_name_error("tag strategy", strategy, STRATEGY_FUNCTIONS)
    if sentences is None and strategy in SENTENCE_STRATEGIES:
        raise InputError(f"Strategy `{strategy}` needs `sentences`, but got none.")
    told = [""] * len(concept.images) if sentences is None else sentences
    for name, given in (("tags", tags), ("sentences", told)):
        if len(given) != len(concept.images):
            raise InputError(
                f"Argument `{name}` must have one entry a picture of `{concept.name}`, which are "
                f"{len(concept.images)}, but got {len(given)}."
            )
    wording = (templates or templates_for_base()).for_concept(concept)
    trigger = re.compile(rf"(?<!\w){re.escape(concept.trigger)}(?!\w)", re.IGNORECASE)
    openings: dict[str | None, list[str]] = {}
    removed: dict[str | None, frozenset[str]] = {}
    captions = []
    for picture, seen, words in zip(concept.images, tags, told, strict=True):
        own = picture.subclass
        if own not in openings:
            openings[own] = with_trigger(concept, own, wording.opening, wording)
            removed[own] = frozenset(
                normalize_tag(entry.tag) for entry in concept_tags if entry.inherent and entry.subclass in (None, own)
            )
        said = STRATEGY_FUNCTIONS[strategy](TaggedImage(seen, removed[own], words))
        if words and said == [words] and trigger.search(words):
            captions.append(words)
        else:
            captions.append(", ".join(_deduplicate([*openings[own], *said], concept)))
    return captions


def _deduplicate(parts: Sequence[str], concept: Concept) -> list[str]:
    """The parts without doubles, and without the trigger as a tag of its own."""
    said = {normalize_tag(concept.trigger), normalize_tag(concept.full_name)}
    kept: list[str] = []
    for part in parts:
        if normalize_tag(part) not in said or not kept:
            said.add(normalize_tag(part))
            kept.append(part)
    return kept
