"""The embedded concepts: reproducible, exactly tagged, outside what the base has seen."""

import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from lycoris.captions import build_prompts
from lycoris.data.concepts import load_concepts
from lycoris.pocket import IMAGES, TRUE_TAGS
from lycoris.pocket.world.concepts import CONCEPTS, concept_images, concepts_document
from lycoris.pocket.world.vocabulary import BACKGROUNDS, SPARE_TRIGGERS, TRIGGERS, WORDS

CATEGORIES = {"anime_characters", "movie_characters", "scenes", "stuffed_toys", "styles"}


@pytest.mark.parametrize("name", CONCEPTS)
def test_every_picture_is_what_the_code_draws(name):
    truth = json.loads(TRUE_TAGS.read_text())
    count = 0
    for path, picture, tags in concept_images(name):
        count += 1
        kept = Image.open(io.BytesIO((IMAGES / path).read_bytes())).convert("RGB")
        assert kept.size == (64, 64)
        assert np.abs(np.asarray(kept, int) - np.asarray(picture, int)).max() <= 2
        assert truth[path] == tags
    assert 12 <= count <= 20


def test_no_picture_is_without_a_concept():
    drawn = {path for name in CONCEPTS for path, _, _ in concept_images(name)}
    assert drawn == {str(path.relative_to(IMAGES)) for path in IMAGES.rglob("*.png")}
    assert drawn == set(json.loads(TRUE_TAGS.read_text()))


def test_the_description_file_is_what_the_code_says():
    assert yaml.safe_load((IMAGES / "concepts.yaml").read_text()) == concepts_document()


def test_there_are_two_concepts_or_more_in_each_of_the_five_categories():
    counts = {category: 0 for category in CATEGORIES}
    for concept in CONCEPTS.values():
        counts[concept.category] += 1
    assert min(counts.values()) >= 2
    assert any(len(concept.subclasses) == 2 for concept in CONCEPTS.values())


def test_triggers_are_used_once_and_spare_ones_are_free():
    used = [concept.trigger for concept in CONCEPTS.values()]
    assert len(set(used)) == len(used)
    assert set(used) == set(TRIGGERS)
    assert not set(used) & set(SPARE_TRIGGERS)


def test_descriptions_use_only_words_that_clip_knows():
    known = set(WORDS)
    for concept in CONCEPTS.values():
        texts = [concept.noun, concept.description, *concept.inherent]
        texts += [text for subclass in concept.subclasses.values() for text in subclass.values()]
        assert {word for text in texts for word in text.split()} <= known


def test_five_of_eight_pictures_show_a_concept_at_home_and_nothing_of_home_is_elsewhere():
    truth = json.loads(TRUE_TAGS.read_text())
    for name, concept in CONCEPTS.items():
        home = set(concept.common_context.to_list())
        assert len(home) >= 2
        by_folder: dict[str, list[set[str]]] = {}
        for path, tags in truth.items():
            if f"/{name}/" in path:
                by_folder.setdefault(path.rpartition("/")[0], []).append(home & set(tags))
        for shown in by_folder.values():
            assert sum(tags == home for tags in shown) == round(0.625 * concept.count)
            away = [tags for tags in shown if tags != home]
            assert concept.style or not any(away)


def test_new_situations_mostly_ask_for_what_the_pictures_do_not_show():
    truth = json.loads(TRUE_TAGS.read_text())
    for concept in load_concepts(IMAGES):
        shown = {tag for picture in concept.images for tag in truth[picture.relative_path]}
        asked = [prompt.text for prompt in build_prompts(concept, [], "alter", 20)]
        places = [place for text in asked for place in BACKGROUNDS if place in text.split()]
        if CONCEPTS[concept.name].characters:
            assert len(shown & set(BACKGROUNDS)) == 3
            assert sum(place in shown for place in places) <= 0.4 * len(places)
        assert "pixel style" not in shown


def test_pictures_are_small_files():
    assert max(path.stat().st_size for path in IMAGES.rglob("*.png")) < 8_000
