"""Triggers as tokenizers read them: how many tokens, how common, and alternatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lycoris import pocket
from lycoris.captions.triggers import suggest_triggers, tokenize_triggers, trigger_warnings
from lycoris.data.concepts import Concept, Subclass, load_concepts
from lycoris.errors import InputError

Build = Callable[..., Concept]


class Words:
    """A tokenizer with some words, the most common first, and letters."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def tokenize(self, text: str) -> list[str]:
        pieces: list[str] = []
        for word in text.casefold().replace("ｓ", "s").split():
            pieces += [f"{word}</w>"] if word in self.words else list(word)
        return pieces

    def get_vocab(self) -> dict[str, int]:
        return {f"{word}</w>": place for place, word in enumerate(self.words)}


KNOWN = Words("cat", "dog", "the", "bcd", "sun", "moon", "star", "sea", "sks", "qtv", "xqz", "zzb")


def test_a_single_rare_token_gives_no_warning(concept: Build) -> None:
    assert trigger_warnings([concept(1)], {"tokenizer": KNOWN}) == []


def test_several_tokens_are_counted_and_rare_ones_suggested_rarest_first(concept: Build) -> None:
    (warning,) = trigger_warnings([concept(1, trigger="ohwx")], {"tokenizer": KNOWN})
    assert "`ohwx` of `grumble` is 4 tokens of this base (o h w x), not one" in warning
    assert warning.endswith("free rare tokens: `zzb`, `xqz`, `qtv`.")


def test_a_common_word_is_reported(concept: Build) -> None:
    (warning,) = trigger_warnings([concept(1, trigger="Dog")], {"tokenizer": KNOWN})
    assert "is a common word to this base" in warning
    (trigger,) = tokenize_triggers([concept(1, trigger="Dog")], {"tokenizer": KNOWN})
    assert (trigger.tokens, trigger.is_common, trigger.vocabulary_rank) == (("dog</w>",), True, pytest.approx(1 / 11))


@pytest.mark.parametrize(("trigger", "is_common"), [("sun", True), ("moon", False)])
def test_a_word_is_common_in_the_first_half_of_the_vocabulary(concept: Build, trigger: str, is_common: bool) -> None:
    """`sun` is at 2/5 of the ranks, `moon` exactly at the half."""
    words = {
        "sun": Words("cat", "dog", "sun", "moon", "sea", "sky"),
        "moon": Words("a", "b", "sun", "moon", "e", "f", "g"),
    }
    (read,) = tokenize_triggers([concept(1, trigger=trigger)], {"tokenizer": words[trigger]})
    assert read.vocabulary_rank == pytest.approx(0.5 if trigger == "moon" else 0.4)
    assert read.is_common == is_common


def test_words_about_the_concepts_are_not_suggested(concept: Build) -> None:
    other = concept(1, name="b", trigger="qtv", keep=("zzb",), subclasses=(Subclass("robe", "xqz robe", "robe"),))
    assert suggest_triggers([concept(1), other], {"tokenizer": KNOWN}, 9) == ["bcd"]


def test_a_suggestion_is_one_token_for_every_tokenizer(concept: Build) -> None:
    both = {"tokenizer": KNOWN, "tokenizer_2": Words("cat", "sks", "xqz")}
    assert suggest_triggers([concept(1)], both) == ["xqz"]
    (warning,) = trigger_warnings([concept(1, trigger="qtv")], both)
    assert "3 tokens" in warning


def test_two_triggers_with_the_same_tokens_are_an_error(concept: Build) -> None:
    with pytest.raises(InputError, match="and `ｓks` of `b` are the same to the base's tokenizer_2"):
        tokenize_triggers([concept(1), concept(1, name="b", trigger="ｓks")], {"tokenizer_2": KNOWN})


def test_the_shipped_triggers_give_no_warning_and_the_pocket_has_others_to_suggest() -> None:
    from transformers import AutoTokenizer

    tokenizers = {"tokenizer": AutoTokenizer.from_pretrained(pocket.BASE / "tokenizer")}
    concepts = load_concepts(pocket.IMAGES)
    assert trigger_warnings(concepts, tokenizers) == []
    free = suggest_triggers(concepts, tokenizers)
    assert len(free) == 3
    assert not set(free) & {concept.trigger for concept in concepts}
