"""Captions beyond a base's token limit are counted and reported for each strategy."""

from __future__ import annotations

from transformers import AutoTokenizer

from lycoris import pocket
from lycoris.captions.token_limits import find_overlong, truncation_warnings

TOKENIZERS = {"tokenizer": AutoTokenizer.from_pretrained(pocket.BASE / "tokenizer")}
LONG = ", ".join(["red cat"] * 333)  # a thousand words and commas


def test_captions_are_overlong_from_the_first_token_beyond_the_limit() -> None:
    fits = " ".join(["cat"] * 30)  # start and end make 32
    assert find_overlong([fits, f"{fits} cat", "", LONG], TOKENIZERS) == [1, 3]
    assert find_overlong([], TOKENIZERS) == []


def test_the_strictest_tokenizer_counts_unless_a_limit_is_given() -> None:
    short = AutoTokenizer.from_pretrained(pocket.BASE / "tokenizer", model_max_length=5)
    captions = ["a red cat", "a red cat cat", LONG]  # with start and end 5, 6 and more than 32 tokens
    for tokenizers in ({"short": short, **TOKENIZERS}, {**TOKENIZERS, "short": short}):
        assert find_overlong(captions, tokenizers) == [1, 2]
        assert find_overlong(captions, tokenizers, max_token_length=4) == [2]
        (warning,) = truncation_warnings("bear", {"all": captions}, tokenizers)
        assert "2 of 3 captions" in warning
        assert "the 5 tokens" in warning
        (warning,) = truncation_warnings("bear", {"all": captions}, tokenizers, max_token_length=4)
        assert "1 of 3 captions" in warning
        assert "the 6 tokens" in warning


def test_a_warning_counts_the_truncated_captions_of_each_strategy() -> None:
    notes = truncation_warnings("bear", {"none": ["a sks"] * 2, "all": ["a sks", LONG]}, TOKENIZERS)
    assert notes == [
        "1 of 2 captions of `bear` under `all` are longer than the 32 tokens that this base reads; the rest has "
        "no effect (see `max_token_length`). The first: image 2."
    ]
