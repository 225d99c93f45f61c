"""How a base's tokenizers read the triggers: their tokens, how common these are, and which rare tokens are free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lycoris.data.concepts import Concept
from lycoris.errors import InputError

COMMON_TOKEN_RANK = 0.5
"""Tokens in the first half of a vocabulary are common: byte-pair vocabularies are sorted by frequency."""
MAX_SUGGESTIONS = 3
"""Number of rare tokens to suggest in place of an unsuitable trigger."""
_RARE_WORD_PATTERN = re.compile(r"[b-df-hj-np-tv-xz]{3}")
"""Three consonants are no word."""


@runtime_checkable
class TokenizerLike(Protocol):
    """The part of a tokenizer that is used here."""

    def tokenize(self, text: str) -> list[str]: ...

    def get_vocab(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class TokenizedTrigger:
    """A trigger as one tokenizer reads it.

    Attributes:
        concept: the concept's name.
        trigger: the trigger's text.
        tokenizer: the tokenizer's name.
        tokens: the tokens.
        vocabulary_rank: rank of the most common token in the vocabulary, from 0 (most common) to 1; None if the
            vocabulary has none of the tokens.
    """

    concept: str
    trigger: str
    tokenizer: str
    tokens: tuple[str, ...]
    vocabulary_rank: float | None

    @property
    def is_common(self) -> bool:
        """Whether the trigger is a single common token, to which the base already gives a meaning."""
        return len(self.tokens) == 1 and self.vocabulary_rank is not None and self.vocabulary_rank < COMMON_TOKEN_RANK


def tokenize_triggers(concepts: Sequence[Concept], tokenizers: Mapping[str, TokenizerLike]) -> list[TokenizedTrigger]:
    """Tokenize every trigger with every tokenizer.

    Args:
        concepts: all concepts trained on one base.
        tokenizers: name -> tokenizer of the base.

    Raises:
        InputError: a tokenizer reads the triggers of two concepts as the same tokens.
    """
    triggers = []
    for name, tokenizer in tokenizers.items():
        vocabulary = tokenizer.get_vocab()
        owners: dict[tuple[str, ...], Concept] = {}
        for concept in concepts:
            tokens = tuple(tokenizer.tokenize(concept.trigger))
            if (other := owners.setdefault(tokens, concept)) is not concept:
                raise InputError(
                    f"Triggers `{other.trigger}` of `{other.name}` and `{concept.trigger}` of `{concept.name}` are the "
                    f"same to the base's {name}: {' '.join(tokens) or 'nothing'}."
                )
            ranks = [vocabulary[token] / max(1, len(vocabulary) - 1) for token in tokens if token in vocabulary]
            triggers.append(TokenizedTrigger(concept.name, concept.trigger, name, tokens, min(ranks, default=None)))
    return triggers


def suggest_triggers(
    concepts: Sequence[Concept], tokenizers: Mapping[str, TokenizerLike], count: int = MAX_SUGGESTIONS
) -> list[str]:
    """Suggest rare words that are one token for every tokenizer and occur in no text about the concepts.

    Args:
        concepts: all concepts trained on one base.
        tokenizers: name -> tokenizer of the base.
        count: maximum number of words.

    Returns:
        Words of three consonants, the rarest first; fewer than `count` if the vocabulary has no more.
    """
    texts = [text.casefold() for concept in concepts for text in _concept_texts(concept)]
    used = {word for text in texts for word in re.findall(r"\w+", text)}
    words: list[str] = []
    for word in _rare_words(next(iter(tokenizers.values()))) if tokenizers else ():
        if len(words) == count:
            break
        if word not in used and all(len(tokenizer.tokenize(word)) == 1 for tokenizer in tokenizers.values()):
            words.append(word)
    return words


def trigger_warnings(concepts: Sequence[Concept], tokenizers: Mapping[str, TokenizerLike]) -> list[str]:
    """Write one warning for each trigger that is not a single rare token.

    Raises:
        InputError: a tokenizer reads the triggers of two concepts as the same tokens.
    """
    warnings = []
    warned: set[str] = set()
    for trigger in tokenize_triggers(concepts, tokenizers):
        if trigger.concept in warned or not (trigger.is_common or len(trigger.tokens) != 1):
            continue
        warned.add(trigger.concept)
        if trigger.is_common:
            why = (
                f"is a common word to this base (token {trigger.vocabulary_rank:.0%} down its vocabulary), which "
                "already has a meaning"
            )
        else:
            why = (
                f"is {len(trigger.tokens)} tokens of this base ({' '.join(trigger.tokens)}), not one: training has to "
                "bind them all"
            )
        suggestions = suggest_triggers(concepts, tokenizers)
        hint = f"; free rare tokens: {', '.join(f'`{word}`' for word in suggestions)}" if suggestions else ""
        warnings.append(f"Trigger `{trigger.trigger}` of `{trigger.concept}` {why}{hint}.")
    return warnings


def _concept_texts(concept: Concept) -> Iterator[str]:
    yield from (concept.trigger, concept.class_noun, concept.description, *(concept.inherent or ()), *concept.keep)
    for subclass in concept.subclasses:
        yield from (subclass.trigger, subclass.description)


def _rare_words(tokenizer: TokenizerLike) -> Iterator[str]:
    """Words of three consonants that are one token, from the end of the vocabulary."""
    for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: (-pair[1], pair[0])):
        word = token.removesuffix("</w>").removeprefix("▁").removeprefix("Ġ")
        if word != token and _RARE_WORD_PATTERN.fullmatch(word):
            yield word
