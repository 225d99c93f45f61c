"""Caption strategies: what a training caption says besides the trigger (arXiv 2309.14859, section 4.1).

``none`` adds nothing, as in DreamBooth; ``all`` adds every tag; ``adjusted`` adds the tags that do not define the
concept, so that the trigger stands for those that do; ``sentence`` adds a captioner's sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lycoris.captions.concept_tags import ConceptTag, normalize_tag
from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.templates import Templates
from lycoris.captions.trigger_text import fill_trigger, with_trigger
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import SENTENCE_STRATEGIES


@dataclass(frozen=True)
class TaggedImage:
    """The tags and the sentence of one image.

    Attributes:
        tags: tag -> confidence, highest first.
        inherent: the tags that define the concept or the image's subclass, as `normalize_tag` writes them.
        sentence: a captioner's sentence; empty if there is none.
    """

    tags: Mapping[str, float]
    inherent: frozenset[str]
    sentence: str = ""


Strategy = Callable[[TaggedImage], list[str]]


def no_tags(image: TaggedImage) -> list[str]:
    """Add nothing: the trigger stands for everything in the images."""
    return []


def all_tags(image: TaggedImage) -> list[str]:
    """Add every tag, the most confident first."""
    return list(image.tags)


def adjusted_tags(image: TaggedImage) -> list[str]:
    """Add every tag that does not define the concept."""
    return [tag for tag in image.tags if normalize_tag(tag) not in image.inherent]


def sentence_only(image: TaggedImage) -> list[str]:
    """Add the sentence, if there is one."""
    return [image.sentence] if image.sentence else []


STRATEGY_FUNCTIONS: dict[str, Strategy] = {
    "none": no_tags,
    "all": all_tags,
    "adjusted": adjusted_tags,
    "sentence": sentence_only,
}
"""What each of `lycoris.terms.CAPTION_STRATEGIES` adds to the trigger."""


def build_captions(
    concept: Concept,
    tags: Sequence[Mapping[str, float]],
    concept_tags: Sequence[ConceptTag],
    strategy: str,
    templates: Templates | None = None,
    sentences: Sequence[str] | None = None,
) -> list[str]:
    """Build the training captions of a concept's images, in their order: "a sks creature, hat, beach".

    Repeated parts are dropped. A sentence that contains the trigger is a caption by itself. ``[trigger]`` in a tag or a
    sentence is the trigger.

    Args:
        concept: the concept.
        tags: tag -> confidence for each image, highest first.
        concept_tags: from `lycoris.captions.find_concept_tags`.
        strategy: one of `lycoris.terms.CAPTION_STRATEGIES`.
        templates: sentences by category; the pocket's by default.
        sentences: one per image, for `lycoris.terms.SENTENCE_STRATEGIES`.

    Raises:
        InputError: the strategy is unknown, an argument does not have one entry per image, or the strategy needs
            sentences and there are none.
    """
    if strategy not in STRATEGY_FUNCTIONS:
        raise unknown_name_error("caption strategy", strategy, STRATEGY_FUNCTIONS)
    if sentences is None and strategy in SENTENCE_STRATEGIES:
        raise InputError(f"Strategy `{strategy}` needs `sentences`, but got none.")
    known_sentences = [""] * len(concept.images) if sentences is None else sentences
    for name, values in (("tags", tags), ("sentences", known_sentences)):
        if len(values) != len(concept.images):
            raise InputError(
                f"Argument `{name}` must have one entry per image of `{concept.name}`, which has "
                f"{len(concept.images)}, but got {len(values)}."
            )
    own = (templates or templates_for_base()).for_concept(concept)
    trigger = re.compile(rf"(?<!\w){re.escape(concept.trigger)}(?!\w)", re.IGNORECASE)
    openings: dict[str | None, list[str]] = {}
    inherent: dict[str | None, frozenset[str]] = {}
    captions = []
    for image, image_tags, sentence in zip(concept.images, tags, known_sentences, strict=True):
        sentence = fill_trigger(concept, sentence)
        image_tags = {fill_trigger(concept, tag): confidence for tag, confidence in image_tags.items()}
        subclass = image.subclass
        if subclass not in openings:
            openings[subclass] = with_trigger(concept, subclass, own.opening, own)
            inherent[subclass] = frozenset(
                normalize_tag(entry.tag)
                for entry in concept_tags
                if entry.inherent and entry.subclass in (None, subclass)
            )
        parts = STRATEGY_FUNCTIONS[strategy](TaggedImage(image_tags, inherent[subclass], sentence))
        if sentence and parts == [sentence] and trigger.search(sentence):
            captions.append(sentence)
        else:
            captions.append(", ".join(_deduplicate([*openings[subclass], *parts], concept)))
    return captions


def _deduplicate(parts: Sequence[str], concept: Concept) -> list[str]:
    """Drop repeated parts, and the trigger as a tag of its own."""
    used = {normalize_tag(concept.trigger), normalize_tag(concept.full_name)}
    distinct: list[str] = []
    for part in parts:
        if normalize_tag(part) not in used or not distinct:
            used.add(normalize_tag(part))
            distinct.append(part)
    return distinct
