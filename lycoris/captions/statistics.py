"""Counts of the tags of a concept and token lengths of its captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lycoris.captions.concept_tags import normalize_tag
from lycoris.captions.token_limits import token_lengths


@dataclass(frozen=True)
class CaptionLengths:
    """Token counts of the captions of one strategy, start and end token included.

    Attributes:
        mean: mean over captions.
        longest: the maximum.
        truncated: number of captions that exceed the base's token limit.
    """

    mean: float
    longest: int
    truncated: int


@dataclass(frozen=True)
class CaptionStatistics:
    """Statistics of the tags and captions of one concept.

    Attributes:
        images: number of images.
        tags: tag -> number of images with it, the most frequent first, under its first spelling.
        mean: mean number of tags per image.
        untagged: number of images without tags.
        lengths: strategy -> lengths of its captions.
    """

    images: int
    tags: dict[str, int]
    mean: float
    untagged: int
    lengths: dict[str, CaptionLengths]


def caption_statistics(
    tags: Sequence[Mapping[str, float]], captions: Mapping[str, Sequence[str]], tokenizer: Any, max_tokens: int
) -> CaptionStatistics:
    """Compute the statistics of one concept.

    Args:
        tags: tag -> confidence for each image.
        captions: strategy -> one caption per image.
        tokenizer: the base's tokenizer.
        max_tokens: the base's token limit.
    """
    spellings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for own in tags:
        counts.update({normalize_tag(tag): None for tag in own if spellings.setdefault(normalize_tag(tag), tag)}.keys())
    ordered = sorted(counts, key=lambda tag: (-counts[tag], tag))
    return CaptionStatistics(
        images=len(tags),
        tags={spellings[tag]: counts[tag] for tag in ordered},
        mean=sum(map(len, tags)) / max(1, len(tags)),
        untagged=sum(not own for own in tags),
        lengths={name: _caption_lengths(texts, tokenizer, max_tokens) for name, texts in captions.items()},
    )


def _caption_lengths(captions: Sequence[str], tokenizer: Any, max_tokens: int) -> CaptionLengths:
    lengths = token_lengths(captions, tokenizer)
    return CaptionLengths(
        mean=sum(lengths) / max(1, len(lengths)),
        longest=max(lengths, default=0),
        truncated=sum(length > max_tokens for length in lengths),
    )
