"""Captions that are longer than a base reads are counted and told, each strategy for itself."""

from __future__ import annotations

from transformers import AutoTokenizer

from lycoris import pocket
from lycoris.captions.token_limits import find_overlong, truncation_warnings

TOKENIZERS = {"tokenizer": AutoTokenizer.from_pretrained(pocket.BASE / "tokenizer")}
LONG = ", ".join(["red cat"] * 333)  # a thousand words and commas


def test_what_fits_is_not_mentioned_up_to_the_last_token() -> None:
    fits = " ".join(["cat"] * 30)  # start and end make 32
    assert find_overlong([fits, f"{fits} cat", "", LONG], TOKENIZERS) == [1, 3]
    assert find_overlong([], TOKENIZERS) == []


def test_a_note_says_how_many_captions_are_cut_and_where() -> None:
    notes = truncation_warnings("bear", {"none": ["a sks"] * 2, "all": ["a sks", LONG]}, TOKENIZERS)
    assert notes == [
        "1 of 2 captions of `bear` under `all` are longer than the 32 tokens that this base reads; the rest has "
        "no effect. The first: image 2."
    ]
