"""The tags that define a concept, which `adjusted` captions leave to its trigger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lycoris.captions.templates import is_style
from lycoris.data.concepts import Concept
from lycoris.errors import InputError

INHERENT_FRACTION = 0.8
"""A tag in at least this fraction of a concept's images is inherent, unless it is common elsewhere."""
LIKELY_INHERENT_FRACTION = 0.7
"""From this fraction on a tag is inherent too, unless every image without it shows a substitute."""
FREQUENT_FRACTION = 0.5
"""Tags in at least this fraction of a concept's images are reported."""
COMMON_FRACTION = 0.5
"""A tag is common when other concepts show it in this fraction of their images, averaged over concepts."""
MIN_IMAGES = 3
"""With fewer images no tag is inherent by its counts."""
MIN_OTHER_CONCEPTS = 3
"""With fewer other concepts no tag is common: two bears and a cat do not make `bear` common."""

ImageTags = Sequence[Mapping[str, float]]
"""Tag -> confidence for each image."""


@dataclass(frozen=True)
class ConceptTag:
    """A frequent tag of a concept, with the counts that decide whether it is inherent.

    Attributes:
        tag: as the tagger writes it.
        inside: number of the concept's (or subclass's) images with the tag.
        of: number of the concept's (or subclass's) images.
        outside: number of other images with the tag.
        outside_of: number of other images.
        inherent: whether the tag defines the concept, so that `adjusted` captions omit it.
        why: the reason, in words.
        subclass: the subclass that was counted; None for the whole concept.
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
    """Find the tags in at least half of a concept's images, and decide which are inherent.

    A tag is inherent when at least 80 % of the images show it and it is not common elsewhere. Taggers miss some, so
    70 % suffices unless every image without the tag shows another tag that never occurs together with it: "blue" in
    place of "red". Tags under ``inherent`` in the concept file are always inherent, those under ``keep`` never. Every
    style tag is inherent to a style. Subclasses are counted separately, each against its siblings and all other
    concepts.

    Args:
        concept: the concept.
        tags: tag -> confidence for each image, in the order of ``concept.images``.
        others: the same for every other concept in the data.

    Returns:
        The tags of the whole concept, then those of subclasses alone; the most frequent first.

    Raises:
        InputError: `tags` does not have one entry per image.
    """
    if len(tags) != len(concept.images):
        raise InputError(
            f"Argument `tags` must have one entry per image of `{concept.name}`, which has {len(concept.images)}, "
            f"but got {len(tags)}."
        )
    result = list(_group_tags(concept, tags, others, None))
    decided = {
        normalize_tag(entry.tag)
        for entry in result
        if entry.inherent or normalize_tag(entry.tag) in _by_normalized_tag(concept.keep)
    }
    groups = {
        subclass.name: [own for own, image in zip(tags, concept.images, strict=True) if image.subclass == subclass.name]
        for subclass in concept.subclasses
    }
    for name, group in groups.items() if len(groups) > 1 else ():
        siblings = [other for sibling, other in groups.items() if sibling != name]
        entries = _group_tags(concept, group, [*siblings, *others], name, siblings)
        result += [entry for entry in entries if entry.inherent and normalize_tag(entry.tag) not in decided]
    return result


@lru_cache(maxsize=2**16)
def normalize_tag(tag: str) -> str:
    """Normalize a tag for comparison: case, underscores and surplus spaces are ignored."""
    return " ".join(tag.replace("_", " ").casefold().split())


def _group_tags(
    concept: Concept,
    tags: ImageTags,
    others: Sequence[ImageTags],
    subclass: str | None,
    siblings: Sequence[ImageTags] = (),
) -> Iterator[ConceptTag]:
    listed = _by_normalized_tag(concept.inherent or ()) if subclass is None else {}
    excluded = _by_normalized_tag(concept.keep)
    counts, spellings = _count_tags(tags)
    elsewhere = [(_count_tags(other)[0], len(other)) for other in others if len(other)]
    beside = [(_count_tags(other)[0], len(other)) for other in siblings if len(other)]
    absent = [name for name in {**listed, **excluded} if name not in counts]
    for name in [*sorted(counts, key=lambda name: (-counts[name], name)), *absent]:
        inside, of = counts[name], len(tags)
        outside = sum(other[name] for other, _ in elsewhere)
        rate = sum(other[name] / size for other, size in elsewhere) / max(1, len(elsewhere))
        shared = any(other[name] >= COMMON_FRACTION * size for other, size in beside)
        tag = spellings.get(name) or {**excluded, **listed}[name]
        inherent, why = False, ""
        if name in excluded:
            why = "under `keep` in the concept file"
        elif name in listed:
            inherent, why = True, "under `inherent` in the concept file"
            why += "" if inside else ", though in none of the images"
        elif is_style(concept) and _is_style_tag(name):
            inherent, why = True, "a style's name, and the concept is a style"
        elif inside < FREQUENT_FRACTION * of or (of < MIN_IMAGES and inside < of):
            continue
        elif of < MIN_IMAGES:
            why = f"only {of} {'image' if of == 1 else 'images'} to decide from"
        elif inside < LIKELY_INHERENT_FRACTION * of or (
            inside < INHERENT_FRACTION * of and _has_substitute(name, tags)
        ):
            why = "not in nearly all of the images"
        elif shared:
            why = "in other subclasses too"
        elif len(elsewhere) >= MIN_OTHER_CONCEPTS and rate >= COMMON_FRACTION:
            why = "common elsewhere too"
        else:
            inherent = True
            why = "in nearly all of the images" if inside >= INHERENT_FRACTION * of else "in most, without a substitute"
            if len(elsewhere) >= MIN_OTHER_CONCEPTS:
                why += f", and not common elsewhere ({rate:.0%} of the images; common is from {COMMON_FRACTION:.0%})"
            elif elsewhere:
                count = f"{len(elsewhere)} other {'concept' if len(elsewhere) == 1 else 'concepts'}"
                why += f"; not compared with {count}: fewer than {MIN_OTHER_CONCEPTS} say nothing"
        yield ConceptTag(tag, inside, of, outside, sum(size for _, size in elsewhere), inherent, why, subclass)


def _has_substitute(name: str, tags: ImageTags) -> bool:
    """Whether every image without a tag shows another tag that never occurs together with it."""
    images = [{normalize_tag(tag) for tag in own} for own in tags]
    together = {tag for own in images if name in own for tag in own}
    return all(own - together for own in images if name not in own)


def _is_style_tag(tag: str) -> bool:
    return tag.endswith((" style", "artstyle", "(style)", "(medium)"))


def _by_normalized_tag(tags: Sequence[str]) -> dict[str, str]:
    return {normalize_tag(tag): tag for tag in tags}


def _count_tags(tags: ImageTags) -> tuple[Counter[str], dict[str, str]]:
    """Count the images with each tag; each image counts a tag once. Also return the tagger's spelling."""
    counts: Counter[str] = Counter()
    spellings: dict[str, str] = {}
    for image in tags:
        own = _by_normalized_tag(list(image))
        spellings.update(own)
        counts.update(own.keys())
    return counts, spellings
