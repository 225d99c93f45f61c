"""The oracle is right about pictures whose tags are exact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris import pocket
from lycoris.data.images import list_images, read_image
from lycoris.pocket.models.ground_truth import ConceptJudge, tags_in_prompt, true_scores

pytestmark = pytest.mark.skipif(not Path(pocket.JUDGE).is_dir(), reason="the judge's weights are not there")


@pytest.fixture(scope="module")
def oracle() -> ConceptJudge:
    return ConceptJudge("grumble")


def pictures(place: str):
    files = list_images(pocket.IMAGES / place)
    truth = json.loads(pocket.TRUE_TAGS.read_text())
    return [read_image(file) for file in files], [truth[f"{place}/{file.name}"] for file in files]


def test_a_reading_knows_its_concept_from_everything_else(oracle) -> None:
    assert oracle.accuracy > 0.95
    own = oracle.predict(pictures("movie_characters/grumble")[0]).concept_probability
    other = oracle.predict(pictures("stuffed_toys/biscuit")[0]).concept_probability
    assert own.mean() > 0.9
    assert other.mean() < 0.1


def test_truths_are_those_of_the_exact_tags(oracle) -> None:
    images, tags = pictures("movie_characters/grumble")
    told = true_scores(oracle, images, [", ".join(each) for each in tags], images[::-1])
    assert told["background"] > 0.85
    assert told["accessory"] > 0.7
    assert told["fidelity"] > 0.9
    wrong = true_scores(oracle, images, [", ".join(each) for each in tags[5:] + tags[:5]])
    assert wrong["controllability"] < told["controllability"]


def test_what_repeats_is_less_diverse_and_the_base_itself_is_wholly_preserved(oracle) -> None:
    images, _ = pictures("movie_characters/grumble")
    every = true_scores(oracle, images, ["a bear"] * len(images), images)
    same = true_scores(oracle, images[:1] * 8, ["a bear"] * 8)
    assert same["diversity"] == 1
    assert every["diversity"] > 1.5
    assert every["preservation"] == 1
    assert "preservation" not in same


def test_what_is_asked_is_told_by_whole_words() -> None:
    assert tags_in_prompt("a red cat wearing a hat on a beach, pixel style") == {
        "species": "cat", "colour": "red", "accessory": "hat", "background": "beach", "style": "pixel style",
    }  # fmt: skip
    assert tags_in_prompt("a bear beside a cat in reddish snowy hats") == {"species": "bear"}
