"""Tag strategies: what a training caption says besides the trigger (arXiv 2309.14859, section 4.1).

``none`` says nothing more, as in DreamBooth; ``all`` adds every tag; ``adjusted`` adds the tags that do not belong
to the concept itself, so that the trigger comes to stand for those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lycoris.captions.inherent import Inherent, plain_tag
from lycoris.captions.naming import named
from lycoris.captions.situations import default_templates
from lycoris.captions.templates import Templates
from lycoris.concepts import Concept
from lycoris.errors import InputError, unknown

Seen = Mapping[str, float]
Strategy = Callable[[Seen, set[str]], list[str]]


def none(seen: Seen, inherent: set[str]) -> list[str]:
    """No tags: the trigger has to stand for everything in the pictures."""
    return []


def all_tags(seen: Seen, inherent: set[str]) -> list[str]:
    """Every tag that was found, best first."""
    return list(seen)


def adjusted(seen: Seen, inherent: set[str]) -> list[str]:
    """Every tag but those that belong to the concept."""
    return [tag for tag in seen if plain_tag(tag) not in inherent]


STRATEGIES: dict[str, Strategy] = {"none": none, "all": all_tags, "adjusted": adjusted}
"""Name -> which of a picture's tags its caption has, given the inherent ones. A new strategy is one line."""


def caption(
    concept: Concept,
    tags: Sequence[Seen],
    inherent: Sequence[Inherent],
    strategy: str,
    templates: Templates | None = None,
) -> list[str]:
    """The training captions of a concept's pictures, in their order: "a sks creature, hat, beach".

    Args:
        concept: what the pictures show.
        tags: tag -> confidence for each picture, best first.
        inherent: from `inherent_tags`.
        strategy: of `STRATEGIES`.
        templates: how a concept is named in a sentence; those of the pocket by default.

    Raises:
        InputError: the strategy is unknown, or there is not one entry for each picture.
    """
    if strategy not in STRATEGIES:
        raise unknown("tag strategy", strategy, STRATEGIES)
    if len(tags) != len(concept.pictures):
        raise InputError(
            f"Argument `tags` must have one entry a picture of `{concept.name}`, which are {len(concept.pictures)}, "
            f"but got {len(tags)}."
        )
    wording = (templates or default_templates()).of(concept)
    captions = []
    for picture, seen in zip(concept.pictures, tags, strict=True):
        removed = {
            plain_tag(entry.tag) for entry in inherent if entry.inherent and entry.subclass in (None, picture.subclass)
        }
        parts = named(concept, picture.subclass, wording.opening, wording)
        said = {plain_tag(words) for words in (*parts, concept.trigger)}
        for tag in STRATEGIES[strategy](seen, removed):
            if plain_tag(tag) not in said:
                said.add(plain_tag(tag))
                parts.append(tag)
        captions.append(", ".join(parts))
    return captions
