"""The embedded concepts are reproducible, exactly tagged and absent from the training of the base."""

import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from lycoris.captions import build_prompts
from lycoris.data.concepts import load_concepts
from lycoris.pocket import IMAGES, TRUE_TAGS
from lycoris.pocket.world.concept_images import concept_images, concepts_document
from lycoris.pocket.world.concepts import CONCEPTS
from lycoris.pocket.world.vocabulary import BACKGROUNDS, SPARE_TRIGGERS, TRIGGERS, WORDS

CATEGORIES = {"anime_characters", "movie_characters", "scenes", "stuffed_toys", "styles"}


@pytest.mark.parametrize("name", CONCEPTS)
def test_every_committed_image_is_what_the_code_draws(name):
    true_tags = json.loads(TRUE_TAGS.read_text())
    count = 0
    for path, image, tags in concept_images(name):
        count += 1
        committed = Image.open(io.BytesIO((IMAGES / path).read_bytes())).convert("RGB")
        assert committed.size == (64, 64)
        assert np.abs(np.asarray(committed, int) - np.asarray(image, int)).max() <= 2
        assert true_tags[path] == tags
    assert 12 <= count <= 20


def test_every_committed_image_belongs_to_a_concept():
    paths = {path for name in CONCEPTS for path, _, _ in concept_images(name)}
    assert paths == {str(path.relative_to(IMAGES)) for path in IMAGES.rglob("*.png")}
    assert paths == set(json.loads(TRUE_TAGS.read_text()))


def test_the_description_file_matches_the_code():
    assert yaml.safe_load((IMAGES / "concepts.yaml").read_text()) == concepts_document()


def test_each_of_the_five_categories_has_at_least_two_concepts():
    counts = {category: 0 for category in CATEGORIES}
    for concept in CONCEPTS.values():
        counts[concept.category] += 1
    assert min(counts.values()) >= 2
    assert any(len(concept.subclasses) == 2 for concept in CONCEPTS.values())


def test_each_trigger_is_used_once_and_spare_triggers_are_unused():
    used = [concept.trigger for concept in CONCEPTS.values()]
    assert len(set(used)) == len(used)
    assert set(used) == set(TRIGGERS)
    assert not set(used) & set(SPARE_TRIGGERS)


def test_descriptions_use_only_words_of_the_vocabulary():
    known = set(WORDS)
    for concept in CONCEPTS.values():
        texts = [concept.noun, concept.description, *concept.inherent]
        texts += [text for subclass in concept.subclasses.values() for text in subclass.values()]
        assert {word for text in texts for word in text.split()} <= known


def test_five_of_eight_images_show_the_common_context_and_the_others_show_none_of_it():
    true_tags = json.loads(TRUE_TAGS.read_text())
    for name, concept in CONCEPTS.items():
        common = set(concept.common_context.to_list())
        assert len(common) >= 2
        by_folder: dict[str, list[set[str]]] = {}
        for path, tags in true_tags.items():
            if f"/{name}/" in path:
                by_folder.setdefault(path.rpartition("/")[0], []).append(common & set(tags))
        for folder_tags in by_folder.values():
            assert sum(tags == common for tags in folder_tags) == round(0.625 * concept.count)
            others = [tags for tags in folder_tags if tags != common]
            assert concept.unseen_style or not any(others)


def test_alter_prompts_mostly_ask_for_backgrounds_that_no_image_shows():
    true_tags = json.loads(TRUE_TAGS.read_text())
    for concept in load_concepts(IMAGES):
        visible = {tag for image in concept.images for tag in true_tags[image.relative_path]}
        texts = [prompt.text for prompt in build_prompts(concept, [], "alter", 20)]
        prompted = [background for text in texts for background in BACKGROUNDS if background in text.split()]
        if CONCEPTS[concept.name].characters:
            assert len(visible & set(BACKGROUNDS)) == 3
            assert sum(background in visible for background in prompted) <= 0.4 * len(prompted)
        assert "pixel style" not in visible


def test_image_files_are_small():
    assert max(path.stat().st_size for path in IMAGES.rglob("*.png")) < 8_000
