"""Captions: the trigger, and what the strategy adds to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lycoris.captions import STRATEGY_FUNCTIONS, ConceptTag, build_captions, find_concept_tags
from lycoris.data.concepts import Concept
from lycoris.errors import InputError

Build = Callable[..., Concept]
TAGS = [{"bear": 0.9, "hat": 0.8, "snow": 0.7}, {"bear": 0.9}, {}, {"beach": 0.6, "bear": 0.5}]
OWN = [ConceptTag("bear", 3, 4, 0, 9, True, "found"), ConceptTag("snow", 1, 4, 0, 9, False, "kept")]


def test_each_strategy_adds_its_own_parts(concept: Build) -> None:
    sentences = ["a bear in the snow", "", "A cat, asleep", "my Sks creature on a beach"]
    written = {name: build_captions(concept(4), TAGS, OWN, name, sentences=sentences) for name in STRATEGY_FUNCTIONS}
    assert written == {
        "none": ["a sks creature"] * 4,
        "all": ["a sks creature, bear, hat, snow", "a sks creature, bear", "a sks creature",
                "a sks creature, beach, bear"],
        "adjusted": ["a sks creature, hat, snow", "a sks creature", "a sks creature", "a sks creature, beach"],
        "sentence": ["a sks creature, a bear in the snow", "a sks creature", "a sks creature, A cat, asleep",
                     "my Sks creature on a beach"],
    }  # fmt: skip


def test_a_placeholder_is_the_trigger(concept: Build) -> None:
    tags, sentences = [{"[trigger]": 1.0, "hat": 1.0}, {"[Trigger] doll": 1.0}], ["[trigger] in the snow", "a bear"]
    written = {name: build_captions(concept(2), tags, [], name, sentences=sentences) for name in ("all", "sentence")}
    assert written == {
        "all": ["a sks creature, hat", "a sks creature, sks doll"],
        "sentence": ["sks in the snow", "a sks creature, a bear"],
    }


def test_one_sentence_per_image_is_required(concept: Build) -> None:
    with pytest.raises(InputError, match="`sentence` needs `sentences`"):
        build_captions(concept(4), TAGS, OWN, "sentence")
    with pytest.raises(InputError, match=r"`sentences`.*4, but got 1"):
        build_captions(concept(4), TAGS, OWN, "sentence", sentences=["a bear"])


def test_adjusted_removes_a_tag_however_it_is_spelt(concept: Build) -> None:
    own = [ConceptTag("long_hair", 1, 1, 0, 0, True, "")]
    assert build_captions(concept(1), [{"Long Hair": 0.9, "hat": 0.8}], own, "adjusted") == ["a sks creature, hat"]


def test_an_image_of_a_subclass_has_its_trigger_too(dressed: Concept) -> None:
    written = build_captions(dressed, [{"hat": 0.9}] * 6, [], "all")
    assert written == ["a sks creature, coat, hat"] * 3 + ["a sks creature, red robe, hat"] * 3


def test_tags_of_a_subclass_are_removed_from_its_images_only(dressed: Concept) -> None:
    own = [ConceptTag("belt", 3, 3, 0, 9, True, "", subclass="robe")]
    written = build_captions(dressed, [{"belt": 0.9}] * 6, own, "adjusted")
    assert written == ["a sks creature, coat, belt"] * 3 + ["a sks creature, red robe"] * 3


def test_a_style_is_named_once(concept: Build) -> None:
    for category in ("styles", "my_styles"):
        style = concept(1, category=category, class_noun="style", description="neon style", trigger="bqz")
        assert build_captions(style, [{"cat": 0.9}], [], "none") == ["a picture in bqz style"]
        assert build_captions(style, [{"cat": 0.9}], [], "all") == ["a picture in bqz style, cat"]


def test_no_part_is_repeated(concept: Build, dressed: Concept) -> None:
    tags = [{"sks": 0.9, "hat": 0.8, "Hat": 0.7, "a sks creature": 0.6, "sks creature": 0.5}]
    assert build_captions(concept(1), tags, [], "all") == ["a sks creature, hat"]
    assert build_captions(dressed, [{"Coat": 0.9}] * 6, [], "all")[0] == "a sks creature, coat"


def test_any_script_brackets_and_a_thousand_tags_are_preserved(concept: Build) -> None:
    odd = {"猫 🐈": 0.9, "saber (fate)": 0.8, "{concept}": 0.7, "{name}": 0.6, "hello, world": 0.5}
    assert build_captions(concept(1), [odd], [], "all") == [
        "a sks creature, 猫 🐈, saber (fate), {concept}, {name}, hello, world"
    ]
    many = {f"tag {number}": 0.5 for number in range(1000)}
    assert build_captions(concept(1), [many], [], "all")[0].count(", tag ") == 1000


def test_adjusted_removes_the_inherent_tags(concept: Build) -> None:
    tags = [{"bear": 0.9, place: 0.8} for place in ("snow", "beach", "city")]
    concept_tags = find_concept_tags(concept(3), tags, [])
    assert build_captions(concept(3), tags, concept_tags, "adjusted") == [
        f"a sks creature, {p}" for p in ("snow", "beach", "city")
    ]


def test_an_unknown_strategy_offers_the_nearest(concept: Build) -> None:
    with pytest.raises(InputError, match="Did you mean `adjusted`"):
        build_captions(concept(4), TAGS, OWN, "ajusted")


def test_one_entry_per_image_is_required(concept: Build) -> None:
    with pytest.raises(InputError, match="3, but got 4"):
        build_captions(concept(3), TAGS, OWN, "all")


def test_ten_thousand_images_have_ten_thousand_captions_in_order(concept: Build) -> None:
    many = concept(10_000)
    tags = [{"bear": 0.9, f"tag {number}": 0.8} for number in range(10_000)]
    written = build_captions(many, tags, find_concept_tags(many, tags), "adjusted")
    assert (written[0], written[9_999]) == ("a sks creature, tag 0", "a sks creature, tag 9999")
    assert len(set(written)) == 10_000


def test_an_image_without_tags_or_sentence_gets_the_trigger(concept: Build) -> None:
    for strategy in STRATEGY_FUNCTIONS:
        assert build_captions(concept(1), [{}], [], strategy, sentences=[""]) == ["a sks creature"]
