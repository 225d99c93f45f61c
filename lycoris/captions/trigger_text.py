"""Sentences about a concept: with its trigger for the trained model, with its description for evaluation encoders."""

from __future__ import annotations

import re

from lycoris.captions.templates import CategoryTemplates
from lycoris.data.concepts import Concept

_TRIGGER_PATTERN = re.compile(r"\[trigger\]", re.IGNORECASE)
_ARTICLE_PATTERN = re.compile(r"(?:a|an|the)\s+(?=\S)", re.IGNORECASE)
_VOWEL_SOUND_PATTERN = re.compile(r"(?!uni|eu|one\b|us[ei])[aeiou]", re.IGNORECASE)


def fill_trigger(concept: Concept, text: str) -> str:
    """Replace ``[trigger]`` by the trigger, as ai-toolkit does in captions and prompts."""
    return _TRIGGER_PATTERN.sub(lambda _: concept.trigger, text)


def with_trigger(concept: Concept, subclass: str | None, sentence: str, templates: CategoryTemplates) -> list[str]:
    """Fill a sentence with the concept's trigger, and append the trigger of the subclass, if there is one.

    Returns:
        The parts that captions join with commas: ``["a sks girl on a beach", "red robe"]``.
    """
    subject = templates.subject.replace("{name}", concept.full_name)
    return [
        sentence.replace("{concept}", subject),
        *(entry.trigger for entry in concept.subclasses if entry.name == subclass),
    ]


def with_description(concept: Concept, subclass: str | None, sentence: str, templates: CategoryTemplates) -> str:
    """Fill a sentence with the description of the concept or of its subclass, with the right article."""
    words = {entry.name: entry.description for entry in concept.subclasses}.get(subclass or "", concept.description)
    article, _, rest = templates.description.partition(" ")
    if article.lower() in ("a", "an", "the"):
        bare = _ARTICLE_PATTERN.sub("", words, count=1) if _ARTICLE_PATTERN.match(words) else words
        words = rest.replace("{description}", bare)
        if article.lower() != "the":
            article = "an" if _VOWEL_SOUND_PATTERN.match(words) else "a"
        words = f"{article} {words}"
    else:
        words = templates.description.replace("{description}", words)
    return sentence.replace("{concept}", words)


def describe_caption(concept: Concept, caption: str, subclass: str | None, templates: CategoryTemplates) -> str:
    """Replace the trigger in a caption by the description, including in captions that the user wrote."""
    opening = ", ".join(with_trigger(concept, subclass, templates.opening, templates))
    if caption == opening or caption.startswith(f"{opening}, "):
        return with_description(concept, subclass, templates.opening, templates) + caption[len(opening) :]
    words = with_description(concept, subclass, "{concept}", templates)
    for name in (concept.full_name, concept.trigger):
        pattern = re.compile(rf"(?:\b(?:an?|the)\s+)?(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        if pattern.search(caption):
            return pattern.sub(lambda _: words, caption)
    return caption
