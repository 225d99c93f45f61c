"""The ground truth is right about images whose tags are known exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris import pocket
from lycoris.data.images import list_images, read_image
from lycoris.pocket.models.ground_truth import ConceptJudge, tags_in_prompt, true_scores

pytestmark = pytest.mark.skipif(not Path(pocket.JUDGE).is_dir(), reason="the judge's weights are not there")


@pytest.fixture(scope="module")
def judge() -> ConceptJudge:
    return ConceptJudge("grumble")


def images_of(concept: str):
    files = list_images(pocket.IMAGES / concept)
    true_tags = json.loads(pocket.TRUE_TAGS.read_text())
    return [read_image(file) for file in files], [true_tags[f"{concept}/{file.name}"] for file in files]


def test_a_probe_separates_its_concept_from_everything_else(judge) -> None:
    assert judge.accuracy > 0.95
    own = judge.predict(images_of("movie_characters/grumble")[0]).concept_probability
    other = judge.predict(images_of("stuffed_toys/biscuit")[0]).concept_probability
    assert own.mean() > 0.9
    assert other.mean() < 0.1


def test_true_scores_follow_the_exact_tags(judge) -> None:
    images, tags = images_of("movie_characters/grumble")
    right = true_scores(judge, images, [", ".join(image_tags) for image_tags in tags], images[::-1])
    assert right["background"] > 0.85
    assert right["accessory"] > 0.7
    assert right["fidelity"] > 0.9
    wrong = true_scores(judge, images, [", ".join(image_tags) for image_tags in tags[5:] + tags[:5]])
    assert wrong["controllability"] < right["controllability"]


def test_repeated_images_are_less_diverse_and_the_base_preserves_itself_fully(judge) -> None:
    images, _ = images_of("movie_characters/grumble")
    varied = true_scores(judge, images, ["a bear"] * len(images), images)
    repeated = true_scores(judge, images[:1] * 8, ["a bear"] * 8)
    assert repeated["diversity"] == 1
    assert varied["diversity"] > 1.5
    assert varied["preservation"] == 1
    assert "preservation" not in repeated


def test_a_prompt_names_tags_by_whole_words() -> None:
    assert tags_in_prompt("a red cat wearing a hat on a beach, pixel style") == {
        "species": "cat", "colour": "red", "accessory": "hat", "background": "beach", "style": "pixel style",
    }  # fmt: skip
    assert tags_in_prompt("a bear beside a cat in reddish snowy hats") == {"species": "bear"}
