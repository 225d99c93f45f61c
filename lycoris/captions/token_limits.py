"""Captions beside the number of tokens that a base reads at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def find_overlong(captions: Sequence[str], tokenizers: Mapping[str, Any], max_tokens: int | None = None) -> list[int]:
    """The places of captions that are longer than a base reads, start and end token included.

    Args:
        captions: of any length.
        tokenizers: of the base, by name; the strictest counts.
        window: tokens that the base reads; by default what the tokenizers say of themselves.

    Returns:
        Places in `captions`, ascending.
    """
    found: set[int] = set()
    for tokenizer in tokenizers.values():
        most = max_tokens or tokenizer.model_max_length
        distinct = list(dict.fromkeys(captions))
        lengths = dict(
            zip(distinct, map(len, tokenizer(distinct, verbose=False).input_ids) if distinct else (), strict=True)
        )
        found |= {place for place, caption in enumerate(captions) if lengths[caption] > most}
    return sorted(found)


def truncation_warnings(
    concept: str, captions: Mapping[str, Sequence[str]], tokenizers: Mapping[str, Any], max_tokens: int | None = None
) -> list[str]:
    """A sentence for each tag strategy under which some captions of a concept are cut.

    Args:
        concept: its name.
        captions: strategy -> one caption a picture.
        tokenizers: of the base, by name.
        window: as for `overlong`.
    """
    notes = []
    for strategy, texts in captions.items():
        cut = find_overlong(texts, tokenizers, max_tokens)
        if cut:
            most = max_tokens or min(tokenizer.model_max_length for tokenizer in tokenizers.values())
            notes.append(
                f"{len(cut)} of {len(texts)} captions of `{concept}` under `{strategy}` are longer than the {most} "
                f"tokens that this base reads; what is behind them has no effect. The first: picture {cut[0] + 1}."
            )
    return notes
