"""Triggers as a base's tokenizers see them: of how many tokens, how common, and which rare ones are still free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lycoris.data.concepts import Concept
from lycoris.errors import InputError

COMMON_TOKEN_RANK = 0.5
"""A token of the first half of its vocabulary is called common: byte-pair vocabularies stand in order of frequency."""
MAX_SUGGESTIONS = 3
"""So many free rare tokens are proposed in place of a trigger that is not one."""
_RARE_WORD_PATTERN = re.compile(r"[b-df-hj-np-tv-xz]{3}")
"""Three consonants spell no word."""


class TokenizerLike(Protocol):
    """What is asked of a tokenizer."""

    def tokenize(self, text: str) -> list[str]: ...

    def get_vocab(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class TokenizedTrigger:
    """A trigger as one tokenizer sees it.

    Attributes:
        concept: whose it is.
        trigger: its words.
        tokenizer: the tokenizer's name.
        pieces: the tokens.
        place: where its commonest token stands in the vocabulary, from 0, the commonest, to 1; None where the
            tokenizer does not know it.
    """

    concept: str
    trigger: str
    tokenizer: str
    tokens: tuple[str, ...]
    vocabulary_rank: float | None

    @property
    def is_common(self) -> bool:
        """Whether it is a single token that the base has often read, so that it means something already."""
        return len(self.tokens) == 1 and self.vocabulary_rank is not None and self.vocabulary_rank < COMMON_TOKEN_RANK


def tokenize_triggers(concepts: Sequence[Concept], tokenizers: Mapping[str, TokenizerLike]) -> list[TokenizedTrigger]:
    """Every trigger as every tokenizer sees it.

    Args:
        concepts: all that are trained on one base.
        tokenizers: of the base, by name.

    Raises:
        InputError: to one of the tokenizers two concepts' triggers are the same tokens.
    """
    found = []
    for name, tokenizer in tokenizers.items():
        vocabulary = tokenizer.get_vocab()
        owners: dict[tuple[str, ...], Concept] = {}
        for concept in concepts:
            pieces = tuple(tokenizer.tokenize(concept.trigger))
            if (other := owners.setdefault(pieces, concept)) is not concept:
                raise InputError(
                    f"Triggers `{other.trigger}` of `{other.name}` and `{concept.trigger}` of `{concept.name}` are the "
                    f"same to the base's {name}: {' '.join(pieces) or 'nothing'}."
                )
            places = [vocabulary[piece] / max(1, len(vocabulary) - 1) for piece in pieces if piece in vocabulary]
            found.append(TokenizedTrigger(concept.name, concept.trigger, name, pieces, min(places, default=None)))
    return found


def suggest_triggers(
    concepts: Sequence[Concept], tokenizers: Mapping[str, TokenizerLike], count: int = MAX_SUGGESTIONS
) -> list[str]:
    """Rare words that are one token to every tokenizer and stand in nothing that the concepts are called.

    Args:
        concepts: all that are trained on one base.
        tokenizers: of the base, by name.
        count: how many, at most.

    Returns:
        Three consonants each, the rarest first; fewer than `count` where the vocabulary has no more.
    """
    taken = {
        word for concept in concepts for text in _concept_texts(concept) for word in re.findall(r"\w+", text.casefold())
    }
    free: list[str] = []
    for word in _rare_words(next(iter(tokenizers.values()))) if tokenizers else ():
        if len(free) == count:
            break
        if word not in taken and all(len(tokenizer.tokenize(word)) == 1 for tokenizer in tokenizers.values()):
            free.append(word)
    return free


def trigger_warnings(concepts: Sequence[Concept], tokenizers: Mapping[str, TokenizerLike]) -> list[str]:
    """What a user should know of the triggers, a sentence each; nothing of those that are one rare token.

    Raises:
        InputError: to one of the tokenizers two concepts' triggers are the same tokens.
    """
    notes = []
    told: set[str] = set()
    for seen in tokenize_triggers(concepts, tokenizers):
        if seen.concept in told or not (seen.is_common or len(seen.tokens) != 1):
            continue
        told.add(seen.concept)
        if seen.is_common:
            why = (
                f"is a common word to this base (token {seen.vocabulary_rank:.0%} down its vocabulary), which means something "  # noqa: E501
                "already"
            )
        else:
            why = (
                f"is {len(seen.tokens)} tokens of this base ({' '.join(seen.tokens)}), not one: training will have "
                "to bind them all"
            )
        free = suggest_triggers(concepts, tokenizers)
        offer = f"; rare tokens that are free: {', '.join(f'`{word}`' for word in free)}" if free else ""
        notes.append(f"Trigger `{seen.trigger}` of `{seen.concept}` {why}{offer}.")
    return notes


def _concept_texts(concept: Concept) -> Iterator[str]:
    yield from (concept.trigger, concept.class_noun, concept.description, *(concept.inherent or ()), *concept.keep)
    for each in concept.subclasses:
        yield from (each.trigger, each.description)


def _rare_words(tokenizer: TokenizerLike) -> Iterator[str]:
    """Words of three consonants that a vocabulary has as one token, from its end."""
    for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: (-pair[1], pair[0])):
        word = token.removesuffix("</w>").removeprefix("▁").removeprefix("Ġ")
        if word != token and _RARE_WORD_PATTERN.fullmatch(word):
            yield word
