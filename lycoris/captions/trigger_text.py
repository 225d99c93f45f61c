"""A concept's place in a sentence: under its trigger for a model, under its description for who does not know that."""

from __future__ import annotations

import re

from lycoris.captions.templates import CategoryTemplates
from lycoris.data.concepts import Concept

_ARTICLE_PATTERN = re.compile(r"(?:a|an|the)\s+(?=\S)", re.IGNORECASE)
_VOWEL_SOUND_PATTERN = re.compile(r"(?!uni|eu|one\b|us[ei])[aeiou]", re.IGNORECASE)


def with_trigger(concept: Concept, subclass: str | None, sentence: str, templates: CategoryTemplates) -> list[str]:
    """A sentence with the concept under its trigger, and behind it the trigger of the subclass, if there is one.

    Returns:
        What captions join by commas: ``["a sks girl on a beach", "red robe"]``.
    """
    name = templates.subject.replace("{name}", concept.full_name)
    return [
        sentence.replace("{concept}", name),
        *(each.trigger for each in concept.subclasses if each.name == subclass),
    ]


def with_description(concept: Concept, subclass: str | None, sentence: str, templates: CategoryTemplates) -> str:
    """The same sentence with what describes the concept, or its subclass as a whole, in place of the trigger."""
    words = {each.name: each.description for each in concept.subclasses}.get(subclass or "", concept.description)
    article, _, rest = templates.description.partition(" ")
    if article.lower() in ("a", "an", "the"):
        words = rest.replace(
            "{description}", _ARTICLE_PATTERN.sub("", words, count=1) if _ARTICLE_PATTERN.match(words) else words
        )
        if article.lower() != "the":
            article = "an" if _VOWEL_SOUND_PATTERN.match(words) else "a"
        words = f"{article} {words}"
    else:
        words = templates.description.replace("{description}", words)
    return sentence.replace("{concept}", words)


def describe_caption(concept: Concept, caption: str, subclass: str | None, templates: CategoryTemplates) -> str:
    """A caption with its trigger described, also where someone else wrote the caption."""
    opening = ", ".join(with_trigger(concept, subclass, templates.opening, templates))
    if caption == opening or caption.startswith(f"{opening}, "):
        return with_description(concept, subclass, templates.opening, templates) + caption[len(opening) :]
    words = with_description(concept, subclass, "{concept}", templates)
    for name in (concept.full_name, concept.trigger):
        found = re.compile(rf"(?:\b(?:an?|the)\s+)?(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        if found.search(caption):
            return found.sub(lambda _: words, caption)
    return caption
