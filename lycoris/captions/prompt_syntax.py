"""The notation of generation programs in captions: ``{red|blue}`` for alternatives and ``(hat:1.2)`` for a weight."""

from __future__ import annotations

import itertools
import re

from lycoris.errors import InputError

MAX_ALTERNATIVES = 64
"""Captions that the alternatives of one caption may give."""
_ALTERNATIVES_PATTERN = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_WILDCARD_PATTERN = re.compile(r"(?<!\w)__[A-Za-z0-9*][\w*/ -]*?__(?!\w)")
_OPTIONS_PATTERN = re.compile(r"\s*(?:[\d.-]+\$\$|\d+(?:\.\d+)?::)")
_WEIGHT_PATTERN = re.compile(r"(?<!\\)\(([^()]*[^\W\d_][^()]*):\s*(?:\d+\.?\d*|\.\d+)\s*\)")


def expand_alternatives(text: str, label: str) -> list[str]:
    """Expand ``a {red|blue} hat`` into one caption for each combination; a text without alternatives into itself.

    Args:
        text: a caption; alternatives may be nested.
        label: where it is from, for the error message.

    Raises:
        InputError: there are too many, or they have counts or weights of their own (``{2$$a|b}``, ``{3::a|b}``).
    """
    texts = [text]
    while any(map(_ALTERNATIVES_PATTERN.search, texts)):
        texts = list(dict.fromkeys(itertools.chain.from_iterable(_expand_first(each, label) for each in texts)))
        if len(texts) > MAX_ALTERNATIVES:
            raise InputError(f"{label} has alternatives for more than {MAX_ALTERNATIVES} captions: `{text[:80]}`.")
    return texts


def has_wildcard(text: str) -> bool:
    """Whether a text has a wildcard such as ``__color__``, which stands for the lines of a file elsewhere."""
    return _WILDCARD_PATTERN.search(text) is not None


def remove_weights(text: str) -> str:
    """Remove weights: ``(red hat:1.2), cat`` is "red hat, cat". Brackets without a number stay."""
    while (plain := _WEIGHT_PATTERN.sub(r"\1", text)) != text:
        text = plain
    return text


def _expand_first(text: str, label: str) -> list[str]:
    match = _ALTERNATIVES_PATTERN.search(text)
    if match is None:
        return [text]
    options = match[1].split("|")
    if any(map(_OPTIONS_PATTERN.match, options)):
        raise InputError(f"{label} has alternatives with counts or weights, which are not supported: `{match[0]}`.")
    return [f"{text[: match.start()]}{option.strip()}{text[match.end() :]}" for option in options]
