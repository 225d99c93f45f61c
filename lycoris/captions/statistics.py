"""What the captions of a class are like, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lycoris.captions.concept_tags import normalize_tag


@dataclass(frozen=True)
class CaptionLengths:
    """Tokens of the captions of one tag strategy, start and end included.

    Attributes:
        mean: over captions.
        most: of the longest.
        cut: how many captions are longer than the base reads.
    """

    mean: float
    most: int
    cut: int


@dataclass(frozen=True)
class CaptionStatistics:
    """Numbers about the tags and captions of one class.

    Attributes:
        pictures: how many there are.
        tags: tag -> how many pictures show it, the most frequent first; the spelling met first stands for others.
        mean: tags a picture.
        untagged: how many pictures have no tag.
        lengths: strategy -> the lengths of its captions.
    """

    pictures: int
    tags: dict[str, int]
    mean: float
    untagged: int
    lengths: dict[str, CaptionLengths]


def caption_statistics(
    tags: Sequence[Mapping[str, float]], captions: Mapping[str, Sequence[str]], tokenizer: Any, max_tokens: int
) -> CaptionStatistics:
    """The numbers of one class.

    Args:
        tags: one mapping a picture.
        captions: strategy -> one caption a picture.
        tokenizer: of the base.
        window: tokens that the base reads.
    """
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for seen in tags:
        counts.update({normalize_tag(tag): None for tag in seen if names.setdefault(normalize_tag(tag), tag)}.keys())
    ordered = sorted(counts, key=lambda tag: (-counts[tag], tag))
    return CaptionStatistics(
        pictures=len(tags),
        tags={names[tag]: counts[tag] for tag in ordered},
        mean=sum(map(len, tags)) / max(1, len(tags)),
        untagged=sum(not seen for seen in tags),
        lengths={name: _caption_lengths(texts, tokenizer, max_tokens) for name, texts in captions.items()},
    )


def _caption_lengths(captions: Sequence[str], tokenizer: Any, max_tokens: int) -> CaptionLengths:
    distinct = list(dict.fromkeys(captions))
    ids = tokenizer(distinct, verbose=False).input_ids if distinct else []
    known = {text: len(tokens) for text, tokens in zip(distinct, ids, strict=True)}
    lengths = [known[text] for text in captions]
    return CaptionLengths(
        mean=sum(lengths) / max(1, len(lengths)),
        most=max(lengths, default=0),
        cut=sum(length > max_tokens for length in lengths),
    )
