"""The notation of generation programs in captions."""

from __future__ import annotations

import pytest

from lycoris.captions.prompt_syntax import MAX_ALTERNATIVES, expand_alternatives, remove_weights
from lycoris.errors import InputError


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("a cat", ["a cat"]),
        ("{a|b} {c|d}", ["a c", "a d", "b c", "b d"]),
        ("x {a|{b|c} d}", ["x a", "x b d", "x c d"]),
        ("{|red }hat", ["hat", "redhat"]),
        ("{concept} and {}", ["{concept} and {}"]),
    ],
)
def test_alternatives_become_captions(text: str, captions: list[str]) -> None:
    assert sorted(expand_alternatives(text, "x")) == sorted(captions)


def test_too_many_alternatives_are_an_error() -> None:
    assert len(expand_alternatives("{a|b}" * 6, "x")) == MAX_ALTERNATIVES
    with pytest.raises(InputError, match="x has alternatives for more than 64"):
        expand_alternatives("{a|b}" * 40, "x")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("(red hat:1.2), cat", "red hat, cat"),
        ("((red:1.1) hat:.9)", "red hat"),
        ("saber (fate), (o)_(o), re:zero, poster (16:9)", "saber (fate), (o)_(o), re:zero, poster (16:9)"),
        (r"saber \(fate:2\)", r"saber \(fate:2\)"),
    ],
)
def test_weights_are_removed_and_brackets_stay(text: str, plain: str) -> None:
    assert remove_weights(text) == plain
