"""Which tags belong to a concept itself, so that its trigger should stand for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lycoris.captions.templates import is_style
from lycoris.data.concepts import Concept
from lycoris.errors import InputError

NEARLY_ALL = 0.8
"""Least part of a concept's pictures that show a tag which belongs to it."""
LIKELY = 0.7
"""From this part on a tag belongs to a concept, too, unless all pictures without it show something in its place."""
FREQUENT = 0.5
"""Least part of the pictures that show a tag which is worth reporting."""
COMMON = 0.5
"""From this part of the pictures elsewhere on a tag is common, each other concept weighing the same."""
FEWEST_PICTURES = 3
"""With fewer pictures nothing can be told from counts."""
FEWEST_OTHERS = 3
"""With fewer other concepts nothing is called common: two bears and a cat do not make bears common."""

Tagged = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Inherent:
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


def inherent_tags(concept: Concept, tags: Tagged, others: Sequence[Tagged] = ()) -> list[Inherent]:
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
    if len(tags) != len(concept.pictures):
        raise InputError(
            f"Argument `tags` must have one entry a picture of `{concept.name}`, which are {len(concept.pictures)}, "
            f"but got {len(tags)}."
        )
    result = list(_of_group(concept, tags, others, None))
    decided = {
        plain_tag(entry.tag) for entry in result if entry.inherent or plain_tag(entry.tag) in _plain(concept.keep)
    }
    groups = {
        each.name: [seen for seen, picture in zip(tags, concept.pictures, strict=True) if picture.subclass == each.name]
        for each in concept.subclasses
    }
    for name, group in groups.items() if len(groups) > 1 else ():
        siblings = [other for sibling, other in groups.items() if sibling != name]
        found = _of_group(concept, group, [*siblings, *others], name, siblings)
        result += [entry for entry in found if entry.inherent and plain_tag(entry.tag) not in decided]
    return result


@lru_cache(maxsize=2**16)
def plain_tag(tag: str) -> str:
    """A tag for comparing: case, underscores and surplus spaces do not count."""
    return " ".join(tag.replace("_", " ").casefold().split())


def _of_group(
    concept: Concept, tags: Tagged, others: Sequence[Tagged], subclass: str | None, siblings: Sequence[Tagged] = ()
) -> Iterator[Inherent]:
    listed = _plain(concept.inherent or ()) if subclass is None else {}
    kept = _plain(concept.keep)
    counts, names = _counts(tags)
    elsewhere = [(_counts(other)[0], len(other)) for other in others if len(other)]
    beside = [(_counts(other)[0], len(other)) for other in siblings if len(other)]
    absent = [name for name in {**listed, **kept} if name not in counts]
    for name in [*sorted(counts, key=lambda name: (-counts[name], name)), *absent]:
        inside, of = counts[name], len(tags)
        outside = sum(found[name] for found, _ in elsewhere)
        rate = sum(found[name] / size for found, size in elsewhere) / max(1, len(elsewhere))
        shared = any(found[name] >= COMMON * size for found, size in beside)
        tag = names.get(name) or {**kept, **listed}[name]
        inherent, why = False, ""
        if name in kept:
            why = "under `keep` in the concept file"
        elif name in listed:
            inherent, why = True, "under `inherent` in the concept file"
            why += "" if inside else ", though in none of the pictures"
        elif is_style(concept) and _names_style(name):
            inherent, why = True, "a style's name, and the concept is a style"
        elif inside < FREQUENT * of or (of < FEWEST_PICTURES and inside < of):
            continue
        elif of < FEWEST_PICTURES:
            why = f"only {of} {'picture' if of == 1 else 'pictures'} to tell from"
        elif inside < LIKELY * of or (inside < NEARLY_ALL * of and _replaced(name, tags)):
            why = "not in nearly all of the pictures"
        elif shared:
            why = "in other subclasses too"
        elif len(elsewhere) >= FEWEST_OTHERS and rate >= COMMON:
            why = "common elsewhere too"
        else:
            inherent = True
            why = "in nearly all of the pictures" if inside >= NEARLY_ALL * of else "in most, with nothing in its place"
            why += " and rare elsewhere"
        yield Inherent(tag, inside, of, outside, sum(size for _, size in elsewhere), inherent, why, subclass)


def _replaced(name: str, tags: Tagged) -> bool:
    """Whether each picture without a tag shows another that no picture shows together with it."""
    pictures = [{plain_tag(tag) for tag in seen} for seen in tags]
    beside = {tag for seen in pictures if name in seen for tag in seen}
    return all(seen - beside for seen in pictures if name not in seen)


def _names_style(tag: str) -> bool:
    return tag.endswith((" style", "artstyle", "(style)", "(medium)"))


def _plain(tags: Sequence[str]) -> dict[str, str]:
    return {plain_tag(tag): tag for tag in tags}


def _counts(tags: Tagged) -> tuple[Counter[str], dict[str, str]]:
    """How many pictures show each tag, and how the tagger writes it; each picture counts a tag once."""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for seen in tags:
        own = {plain_tag(tag): tag for tag in seen}
        names.update(own)
        counts.update(own.keys())
    return counts, names
