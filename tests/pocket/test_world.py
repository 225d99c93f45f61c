"""The drawn world: deterministic, exactly tagged, every word one token."""

import random

import numpy as np
import pytest

from lycoris.pocket.training.unet import sample_captions
from lycoris.pocket.world.accessories import ACCESSORY_PAINTERS
from lycoris.pocket.world.backgrounds import BACKGROUND_PAINTERS
from lycoris.pocket.world.generator import (
    PALETTE,
    draw_image,
    is_held_out,
    sample_details,
    sample_image,
    sample_split_tags,
)
from lycoris.pocket.world.rendering import IMAGE_SIZE, STYLE_RENDERERS
from lycoris.pocket.world.species import DETAILED_SPECIES, SPECIES_PAINTERS, Details
from lycoris.pocket.world.vocabulary import (
    ACCESSORIES,
    BACKGROUNDS,
    COLOURS,
    DETAILS,
    SPARE_TRIGGERS,
    SPECIES,
    STYLES,
    TRIGGERS,
    WORDS,
    Tags,
    build_tokenizer,
    to_sentence,
    to_tag_list,
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_a_seed_is_always_the_same_picture():
    first, tags, details = sample_image(7, detailed_fraction=0.5)
    again, same_tags, same_details = sample_image(7, detailed_fraction=0.5)
    other, _, _ = sample_image(8, detailed_fraction=0.5)
    assert np.array_equal(first, again)
    assert (tags, details) == (same_tags, same_details)
    assert not np.array_equal(first, other)


def test_every_tag_of_the_vocabulary_can_be_drawn():
    assert tuple(SPECIES_PAINTERS) == SPECIES
    assert tuple(PALETTE) == COLOURS
    assert tuple(ACCESSORY_PAINTERS) == ACCESSORIES
    assert tuple(BACKGROUND_PAINTERS) == BACKGROUNDS
    assert tuple(STYLE_RENDERERS) == STYLES


@pytest.mark.parametrize("species", SPECIES)
def test_every_attribute_changes_the_picture(species):
    tags = Tags(species, "red", None, "plain", "flat")
    plain = np.asarray(draw_image(tags, random.Random(0)))
    assert plain.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    for accessory in ACCESSORIES:
        worn = np.asarray(draw_image(Tags(species, "red", accessory, "plain", "flat"), random.Random(0)))
        assert (worn != plain).any(2).sum() > 100
    blue = np.asarray(draw_image(Tags(species, "blue", None, "plain", "flat"), random.Random(0)))
    assert (blue != plain).any(2).sum() > 200


def test_the_named_colour_is_the_colour_of_the_subject():
    for colour in COLOURS:
        pixels = np.asarray(draw_image(Tags("cat", colour, None, "night", "flat"), random.Random(1)), int)
        near = (np.abs(pixels - PALETTE[colour]).sum(2) < 12).sum()
        assert near > 300


def test_a_pencil_drawing_has_no_colour_in_picture_or_caption():
    found = 0
    for seed in range(40):
        picture, tags, _ = sample_image(seed)
        if tags.style == "pencil":
            found += 1
            pixels = np.asarray(picture)
            assert tags.colour is None
            assert (pixels == pixels[..., :1]).all()
            assert not any(colour in to_sentence(tags).split() for colour in COLOURS)
    assert found


def test_seen_and_unseen_combinations_are_apart_and_one_in_ten_is_unseen():
    rng = random.Random(0)
    assert not any(is_held_out(sample_split_tags(rng)) for _ in range(200))
    assert all(is_held_out(sample_split_tags(rng, held_out=True)) for _ in range(50))
    every = [
        Tags(species, colour, accessory, background, style)
        for species in SPECIES
        for colour in COLOURS
        for accessory in (None, *ACCESSORIES)
        for background in BACKGROUNDS
        for style in STYLES
    ]
    assert 0.08 < sum(map(is_held_out, every)) / len(every) < 0.12


def test_details_are_drawn_where_they_are_named():
    rng = random.Random(3)
    tags = Tags("bear", "blue", None, "plain", "flat")
    for _ in range(20):
        details = sample_details(rng)
        assert set(details.tags) <= set(DETAILS)
        bare, marked = draw_image(tags, random.Random(0)), draw_image(tags, random.Random(0), details)
        assert not np.array_equal(bare, marked)
    assert Details().tags == []
    assert set(DETAILED_SPECIES) < set(SPECIES)


def test_captions_say_exactly_what_is_shown():
    tags = Tags("cat", "red", "hat", "beach", "pixel")
    assert to_sentence(tags) == "a red cat wearing a hat on a beach, pixel style"
    assert to_sentence(Tags("fish", "orange", None, None, None)) == "an orange fish"
    assert to_tag_list(tags) == "cat, red, hat, beach, pixel style"
    assert tags.to_list() == ["cat", "red", "hat", "beach", "pixel style"]


def test_every_word_is_one_token_and_other_text_still_tokenizes(tokenizer):
    assert all(len(tokenizer.tokenize(word)) == 1 for word in WORDS)
    pieces = tokenizer.tokenize("a zebra xylophone, 42")
    assert len(pieces) > 4
    assert tokenizer.unk_token not in pieces


def test_the_longest_tag_list_fits(tokenizer):
    longest = ", ".join(
        ["sks creature", "cat", "red", "hat", "beach", "pixel style", "horns", "wings", "heart", "star"]
    )
    assert len(tokenizer(longest).input_ids) <= tokenizer.model_max_length


def test_triggers_are_rare_single_tokens_and_enough_are_spare(tokenizer):
    everyday = set(WORDS) - set(TRIGGERS) - set(SPARE_TRIGGERS)
    triggers = (*TRIGGERS, *SPARE_TRIGGERS)
    assert len(SPARE_TRIGGERS) >= 16
    assert len(set(triggers)) == len(triggers)
    assert not everyday & set(triggers)
    assert all(len(tokenizer.tokenize(trigger)) == 1 for trigger in triggers)


def test_the_tokenizer_is_the_same_every_time(tokenizer):
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_a_pencil_drawing_is_called_one_in_every_caption_and_nothing_else_is():
    shown = [Tags("frog", None, "hat", "city", "pencil"), Tags("frog", "red", None, "city", "flat")]
    texts = sample_captions(shown, per_image=60, seed=3)
    assert ["pencil style" in text for text in texts] == [True] * 60 + [False] * 60
    assert len(set(texts)) > 20
