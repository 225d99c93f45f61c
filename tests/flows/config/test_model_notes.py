"""Embedded models on images of the user are named, before their tags and scores are taken for true."""

from __future__ import annotations

import pytest

from flows.config.loading import load_experiment
from flows.config.model_notes import model_notes

TAGGER, BASE, ENCODERS = "the pocket's tagger", "the pocket knows", "the embedded encoders"


@pytest.mark.parametrize(
    ("options", "concepts", "expected"),
    [
        ((), ["grumble", "biscuit"], []),
        ((), ["grumble", "dog"], [TAGGER, BASE]),
        (("captions=none",), ["dog"], [BASE]),
        (("tagger=sidecar",), ["dog"], [BASE]),
        (("base=owner/model", "captions=none"), ["dog"], [ENCODERS]),
        (("base=owner/model", "tagger=pocket"), ["dog"], [ENCODERS, TAGGER]),
        (("base=owner/model", "captions=none", "encoders=owner/clip", "style_encoder=vgg.pth"), ["dog"], []),
    ],
)
def test_what_a_model_does_not_know_is_said_of_images_of_the_user(options, concepts, expected) -> None:
    notes = model_notes(load_experiment(None, options), concepts)
    assert [next(start for start in (TAGGER, BASE, ENCODERS) if note.startswith(start)) for note in notes] == expected


def test_a_page_of_tags_says_it_also_where_no_caption_has_tags() -> None:
    (note,) = model_notes(load_experiment(None, ("captions=none",)), ["dog"], about_base=False, shows_tags=True)
    assert note.startswith(TAGGER)


def test_the_concepts_are_named_and_what_to_set() -> None:
    (note,) = model_notes(load_experiment(None), ["dog", "biscuit"], about_base=False)
    assert "here of `dog`, are wrong" in note
    assert "--set captions=none" in note
