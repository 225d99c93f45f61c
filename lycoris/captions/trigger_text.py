"""A concept's place in a sentence: under its trigger for a model, under its description for who does not know that."""

from __future__ import annotations

import re

from lycoris.captions.templates import Wording
from lycoris.data.concepts import Concept

_ARTICLE = re.compile(r"(?:a|an|the)\s+(?=\S)", re.IGNORECASE)
_VOWEL = re.compile(r"(?!uni|eu|one\b|us[ei])[aeiou]", re.IGNORECASE)


def named(concept: Concept, subclass: str | None, sentence: str, wording: Wording) -> list[str]:
    """A sentence with the concept under its trigger, and behind it the trigger of the subclass, if there is one.

    Returns:
        What captions join by commas: ``["a sks girl on a beach", "red robe"]``.
    """
    name = wording.subject.replace("{name}", concept.full_name)
    return [
        sentence.replace("{concept}", name),
        *(each.trigger for each in concept.subclasses if each.name == subclass),
    ]


def described(concept: Concept, subclass: str | None, sentence: str, wording: Wording) -> str:
    """The same sentence with what describes the concept, or its subclass as a whole, in place of the trigger."""
    words = {each.name: each.description for each in concept.subclasses}.get(subclass or "", concept.description)
    article, _, rest = wording.description.partition(" ")
    if article.lower() in ("a", "an", "the"):
        words = rest.replace("{description}", _ARTICLE.sub("", words, count=1) if _ARTICLE.match(words) else words)
        if article.lower() != "the":
            article = "an" if _VOWEL.match(words) else "a"
        words = f"{article} {words}"
    else:
        words = wording.description.replace("{description}", words)
    return sentence.replace("{concept}", words)


def described_caption(concept: Concept, caption: str, subclass: str | None, wording: Wording) -> str:
    """A caption with its trigger described, also where someone else wrote the caption."""
    opening = ", ".join(named(concept, subclass, wording.opening, wording))
    if caption == opening or caption.startswith(f"{opening}, "):
        return described(concept, subclass, wording.opening, wording) + caption[len(opening) :]
    words = described(concept, subclass, "{concept}", wording)
    for name in (concept.full_name, concept.trigger):
        found = re.compile(rf"(?:\b(?:an?|the)\s+)?(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        if found.search(caption):
            return found.sub(lambda _: words, caption)
    return caption
