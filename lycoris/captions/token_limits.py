"""Token lengths of captions, and the captions that exceed a base's token limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def token_lengths(captions: Sequence[str], tokenizer: Any) -> list[int]:
    """Count the tokens of each caption, start and end token included."""
    distinct = list(dict.fromkeys(captions))
    ids = tokenizer(distinct, verbose=False).input_ids if distinct else []
    lengths = dict(zip(distinct, map(len, ids), strict=True))
    return [lengths[caption] for caption in captions]


def token_limit(tokenizer: Any, max_token_length: int | None = None) -> int:
    """Tokens of a caption that a base reads with a tokenizer, start and end token included.

    Args:
        tokenizer: of the base.
        max_token_length: as for `lycoris.bases.open_base`; it concerns CLIP's tokenizers only.
    """
    if max_token_length is None or not type(tokenizer).__name__.startswith("CLIP"):
        return tokenizer.model_max_length
    return max_token_length + 2


def find_overlong(
    captions: Sequence[str], tokenizers: Mapping[str, Any], max_token_length: int | None = None
) -> list[int]:
    """Find the captions that exceed a base's token limit, start and end token included.

    Args:
        captions: captions of any length.
        tokenizers: name -> tokenizer of the base; the strictest counts.
        max_token_length: as for `token_limit`.

    Returns:
        Indices into `captions`, ascending.
    """
    overlong: set[int] = set()
    for tokenizer in tokenizers.values():
        limit = token_limit(tokenizer, max_token_length)
        overlong |= {index for index, length in enumerate(token_lengths(captions, tokenizer)) if length > limit}
    return sorted(overlong)


def truncation_warnings(
    concept: str,
    captions: Mapping[str, Sequence[str]],
    tokenizers: Mapping[str, Any],
    max_token_length: int | None = None,
) -> list[str]:
    """Write a warning for each strategy under which captions of a concept are truncated.

    Args:
        concept: the concept's name.
        captions: strategy -> one caption per image.
        tokenizers: name -> tokenizer of the base.
        max_token_length: as for `token_limit`.
    """
    warnings = []
    for strategy, texts in captions.items():
        overlong = find_overlong(texts, tokenizers, max_token_length)
        if overlong:
            limit = min(token_limit(tokenizer, max_token_length) for tokenizer in tokenizers.values())
            warnings.append(
                f"{len(overlong)} of {len(texts)} captions of `{concept}` under `{strategy}` are longer than the "
                f"{limit} tokens that this base reads; the rest has no effect (see `max_token_length`). The first: "
                f"image {overlong[0] + 1}."
            )
    return warnings
