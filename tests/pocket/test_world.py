"""The pocket world is deterministic and exactly tagged, and every word is one token."""

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


def test_the_same_seed_gives_the_same_image():
    first, tags, details = sample_image(7, detailed_fraction=0.5)
    second, same_tags, same_details = sample_image(7, detailed_fraction=0.5)
    other, _, _ = sample_image(8, detailed_fraction=0.5)
    assert np.array_equal(first, second)
    assert (tags, details) == (same_tags, same_details)
    assert not np.array_equal(first, other)


def test_every_tag_of_the_vocabulary_can_be_drawn():
    assert tuple(SPECIES_PAINTERS) == SPECIES
    assert tuple(PALETTE) == COLOURS
    assert tuple(ACCESSORY_PAINTERS) == ACCESSORIES
    assert tuple(BACKGROUND_PAINTERS) == BACKGROUNDS
    assert tuple(STYLE_RENDERERS) == STYLES


@pytest.mark.parametrize("species", SPECIES)
def test_every_attribute_changes_the_image(species):
    tags = Tags(species, "red", None, "plain", "flat")
    plain = np.asarray(draw_image(tags, random.Random(0)))
    assert plain.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    for accessory in ACCESSORIES:
        with_accessory = np.asarray(draw_image(Tags(species, "red", accessory, "plain", "flat"), random.Random(0)))
        assert (with_accessory != plain).any(2).sum() > 100
    blue = np.asarray(draw_image(Tags(species, "blue", None, "plain", "flat"), random.Random(0)))
    assert (blue != plain).any(2).sum() > 200


def test_the_named_colour_is_the_colour_of_the_subject():
    for colour in COLOURS:
        pixels = np.asarray(draw_image(Tags("cat", colour, None, "night", "flat"), random.Random(1)), int)
        near = (np.abs(pixels - PALETTE[colour]).sum(2) < 12).sum()
        assert near > 300


def test_a_pencil_drawing_has_no_colour_in_image_or_caption():
    count = 0
    for seed in range(40):
        image, tags, _ = sample_image(seed)
        if tags.style == "pencil":
            count += 1
            pixels = np.asarray(image)
            assert tags.colour is None
            assert (pixels == pixels[..., :1]).all()
            assert not any(colour in to_sentence(tags).split() for colour in COLOURS)
    assert count


def test_training_and_held_out_combinations_are_disjoint_and_one_in_ten_is_held_out():
    rng = random.Random(0)
    assert not any(is_held_out(sample_split_tags(rng)) for _ in range(200))
    assert all(is_held_out(sample_split_tags(rng, held_out=True)) for _ in range(50))
    combinations = [
        Tags(species, colour, accessory, background, style)
        for species in SPECIES
        for colour in COLOURS
        for accessory in (None, *ACCESSORIES)
        for background in BACKGROUNDS
        for style in STYLES
    ]
    assert 0.08 < sum(map(is_held_out, combinations)) / len(combinations) < 0.12


def test_every_sampled_detail_changes_the_image_and_has_a_tag():
    rng = random.Random(3)
    tags = Tags("bear", "blue", None, "plain", "flat")
    for _ in range(20):
        details = sample_details(rng)
        assert set(details.tags) <= set(DETAILS)
        bare, marked = draw_image(tags, random.Random(0)), draw_image(tags, random.Random(0), details)
        assert not np.array_equal(bare, marked)
    assert Details().tags == []
    assert set(DETAILED_SPECIES) < set(SPECIES)


def test_captions_state_exactly_the_tags():
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


def test_the_longest_tag_list_fits_the_text_encoder(tokenizer):
    longest = ", ".join(
        ["sks creature", "cat", "red", "hat", "beach", "pixel style", "horns", "wings", "heart", "star"]
    )
    assert len(tokenizer(longest).input_ids) <= tokenizer.model_max_length


def test_triggers_are_single_tokens_used_for_nothing_else_and_enough_are_spare(tokenizer):
    other_words = set(WORDS) - set(TRIGGERS) - set(SPARE_TRIGGERS)
    triggers = (*TRIGGERS, *SPARE_TRIGGERS)
    assert len(SPARE_TRIGGERS) >= 16
    assert len(set(triggers)) == len(triggers)
    assert not other_words & set(triggers)
    assert all(len(tokenizer.tokenize(trigger)) == 1 for trigger in triggers)


def test_the_tokenizer_is_deterministic(tokenizer):
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_every_caption_of_a_pencil_drawing_names_the_style_and_no_other_caption_does():
    tags = [Tags("frog", None, "hat", "city", "pencil"), Tags("frog", "red", None, "city", "flat")]
    texts = sample_captions(tags, per_image=60, seed=3)
    assert ["pencil style" in text for text in texts] == [True] * 60 + [False] * 60
    assert len(set(texts)) > 20
