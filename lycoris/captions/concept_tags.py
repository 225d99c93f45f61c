"""Which tags belong to a concept itself, so that its trigger should stand for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lycoris.captions.templates import is_style
from lycoris.data.concepts import Concept
from lycoris.errors import InputError

INHERENT_FRACTION = 0.8
"""Least part of a concept's pictures that show a tag which belongs to it."""
LIKELY_INHERENT_FRACTION = 0.7
"""From this part on a tag belongs to a concept, too, unless all pictures without it show something in its place."""
FREQUENT_FRACTION = 0.5
"""Least part of the pictures that show a tag which is worth reporting."""
COMMON_FRACTION = 0.5
"""From this part of the pictures elsewhere on a tag is common, each other concept weighing the same."""
MIN_IMAGES = 3
"""With fewer pictures nothing can be told from counts."""
MIN_OTHER_CONCEPTS = 3
"""With fewer other concepts nothing is called common: two bears and a cat do not make bears common."""

ImageTags = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class ConceptTag:
    """A tag that a concept shows often, with the counts that say whether it belongs to the concept.

    Attributes:
        tag: as the tagger writes it.
        inside: how many of the concept's (or of the subclass's) pictures show it.
        of: how many pictures these are.
        outside: how many pictures elsewhere show it.
        outside_of: how many pictures these are.
        inherent: whether it belongs to the concept, so that `adjusted` captions go without it.
        why: what decided, in words.
        subclass: whose pictures these are; None for the whole concept.
    """

    tag: str
    inside: int
    of: int
    outside: int
    outside_of: int
    inherent: bool
    why: str
    subclass: str | None = None


def find_concept_tags(concept: Concept, tags: ImageTags, others: Sequence[ImageTags] = ()) -> list[ConceptTag]:
    """The tags in half of a concept's pictures or more, and which of them belong to it.

    A tag belongs to a concept when at least 80 % of its pictures show it and it is not common elsewhere. Taggers
    miss some, so that 70 % will do unless each of the pictures without it shows another tag that is never seen together
    with it: "blue" in place of "red". What the concept file has under ``inherent`` belongs to it in any case, what it
    has under ``keep`` in none. To a style belongs whatever style the tagger takes it for. Subclasses are counted for
    themselves, each against its siblings and all other concepts.

    Args:
        concept: whose tags these are.
        tags: one mapping a picture, in the order of ``concept.pictures``.
        others: the same of every other concept of the data.

    Returns:
        The whole concept's first, then those that only a subclass has; the most frequent first.

    Raises:
        InputError: there is not one mapping for each picture.
    """
    if len(tags) != len(concept.images):
        raise InputError(
            f"Argument `tags` must have one entry a picture of `{concept.name}`, which are {len(concept.images)}, "
            f"but got {len(tags)}."
        )
    result = list(_group_tags(concept, tags, others, None))
    decided = {
        normalize_tag(entry.tag)
        for entry in result
        if entry.inherent or normalize_tag(entry.tag) in _by_normalized_tag(concept.keep)
    }
    groups = {
        each.name: [seen for seen, picture in zip(tags, concept.images, strict=True) if picture.subclass == each.name]
        for each in concept.subclasses
    }
    for name, group in groups.items() if len(groups) > 1 else ():
        siblings = [other for sibling, other in groups.items() if sibling != name]
        found = _group_tags(concept, group, [*siblings, *others], name, siblings)
        result += [entry for entry in found if entry.inherent and normalize_tag(entry.tag) not in decided]
    return result


@lru_cache(maxsize=2**16)
def normalize_tag(tag: str) -> str:
    """A tag for comparing: case, underscores and surplus spaces do not count."""
    return " ".join(tag.replace("_", " ").casefold().split())


def _group_tags(
    concept: Concept,
    tags: ImageTags,
    others: Sequence[ImageTags],
    subclass: str | None,
    siblings: Sequence[ImageTags] = (),
) -> Iterator[ConceptTag]:
    listed = _by_normalized_tag(concept.inherent or ()) if subclass is None else {}
    kept = _by_normalized_tag(concept.keep)
    counts, names = _count_tags(tags)
    elsewhere = [(_count_tags(other)[0], len(other)) for other in others if len(other)]
    beside = [(_count_tags(other)[0], len(other)) for other in siblings if len(other)]
    absent = [name for name in {**listed, **kept} if name not in counts]
    for name in [*sorted(counts, key=lambda name: (-counts[name], name)), *absent]:
        inside, of = counts[name], len(tags)
        outside = sum(found[name] for found, _ in elsewhere)
        rate = sum(found[name] / size for found, size in elsewhere) / max(1, len(elsewhere))
        shared = any(found[name] >= COMMON_FRACTION * size for found, size in beside)
        tag = names.get(name) or {**kept, **listed}[name]
        inherent, why = False, ""
        if name in kept:
            why = "under `keep` in the concept file"
        elif name in listed:
            inherent, why = True, "under `inherent` in the concept file"
            why += "" if inside else ", though in none of the pictures"
        elif is_style(concept) and _is_style_tag(name):
            inherent, why = True, "a style's name, and the concept is a style"
        elif inside < FREQUENT_FRACTION * of or (of < MIN_IMAGES and inside < of):
            continue
        elif of < MIN_IMAGES:
            why = f"only {of} {'picture' if of == 1 else 'pictures'} to tell from"
        elif inside < LIKELY_INHERENT_FRACTION * of or (
            inside < INHERENT_FRACTION * of and _has_substitute(name, tags)
        ):
            why = "not in nearly all of the pictures"
        elif shared:
            why = "in other subclasses too"
        elif len(elsewhere) >= MIN_OTHER_CONCEPTS and rate >= COMMON_FRACTION:
            why = "common elsewhere too"
        else:
            inherent = True
            why = (
                "in nearly all of the pictures"
                if inside >= INHERENT_FRACTION * of
                else "in most, with nothing in its place"
            )
            why += " and rare elsewhere"
        yield ConceptTag(tag, inside, of, outside, sum(size for _, size in elsewhere), inherent, why, subclass)


def _has_substitute(name: str, tags: ImageTags) -> bool:
    """Whether each picture without a tag shows another that no picture shows together with it."""
    pictures = [{normalize_tag(tag) for tag in seen} for seen in tags]
    beside = {tag for seen in pictures if name in seen for tag in seen}
    return all(seen - beside for seen in pictures if name not in seen)


def _is_style_tag(tag: str) -> bool:
    return tag.endswith((" style", "artstyle", "(style)", "(medium)"))


def _by_normalized_tag(tags: Sequence[str]) -> dict[str, str]:
    return {normalize_tag(tag): tag for tag in tags}


def _count_tags(tags: ImageTags) -> tuple[Counter[str], dict[str, str]]:
    """How many pictures show each tag, and how the tagger writes it; each picture counts a tag once."""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for seen in tags:
        own = {normalize_tag(tag): tag for tag in seen}
        names.update(own)
        counts.update(own.keys())
    return counts, names
