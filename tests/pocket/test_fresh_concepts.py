"""Fresh concepts: each seed has one, all differ from each other and from the embedded ones, and a run accepts them."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lycoris.data.concepts import load_concepts
from lycoris.errors import InputError
from lycoris.pocket import IMAGES
from lycoris.pocket.world.canvas import Pen
from lycoris.pocket.world.concept_images import concept_images, write_concepts
from lycoris.pocket.world.concepts import CONCEPTS
from lycoris.pocket.world.fresh_concepts import FIRST_SEED, KINDS, MAX_PER_KIND, fresh_concepts
from lycoris.pocket.world.fresh_places import LANDMARK_PAINTERS, Place, sample_place
from lycoris.pocket.world.fresh_styles import TECHNIQUES, sample_style
from lycoris.pocket.world.generator import PALETTE, blank_canvas
from lycoris.pocket.world.rendering import CANVAS_SIZE
from lycoris.pocket.world.vocabulary import WORDS


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """Concept -> its first four images, of shape (4, 64, 64, 3)."""
    concepts = fresh_concepts()
    return {
        name: np.stack(
            [np.asarray(image, int) for _, (_, image, _) in zip(range(4), concept_images(name, concepts), strict=False)]
        )
        for name in concepts
    }


def test_thirty_concepts_have_seeds_beyond_ten_thousand_names_triggers_and_words_that_the_base_knows() -> None:
    concepts = fresh_concepts()
    assert [sum(name.startswith(kind) for name in concepts) for kind in KINDS] == [10, 10, 10]
    assert all(int("".join(filter(str.isdigit, name))) >= FIRST_SEED for name in concepts)
    assert not set(concepts) & set(CONCEPTS)
    for values in zip(*((each.trigger, each.description) for each in concepts.values()), strict=True):
        assert len(set(values)) == 30
    words = {
        word
        for each in concepts.values()
        for text in (each.noun, each.description, *each.inherent)
        for word in text.split()
    }
    assert words <= set(WORDS)


def test_the_same_seeds_give_the_same_images_and_others_give_others(images: dict[str, np.ndarray]) -> None:
    again = fresh_concepts(1)
    for name in again:
        _, image, _ = next(concept_images(name, again))
        assert np.array_equal(np.asarray(image, int), images[name][0])
    assert not set(fresh_concepts(1, first_seed=20_001)) & set(images)


def test_no_two_concepts_look_alike_and_none_is_an_embedded_one(images: dict[str, np.ndarray]) -> None:
    for first, second in combinations(images, 2):
        assert np.abs(images[first] - images[second]).mean() > 8, (first, second)
    known = np.stack([np.asarray(Image.open(path).convert("RGB"), int) for path in sorted(IMAGES.rglob("00.png"))])
    for name, own in images.items():
        assert np.abs(known - own[0]).mean((1, 2, 3)).min() > 8, name


def test_every_landmark_and_technique_has_seeds_and_the_thirty_have_eight_of_them() -> None:
    generators = [random.Random(seed) for seed in range(40)]
    assert {sample_place(rng).landmark for rng in generators} == set(LANDMARK_PAINTERS)
    assert {sample_style(rng).technique for rng in generators} == set(TECHNIQUES)
    concepts = fresh_concepts()
    places = {each.noun for name, each in concepts.items() if name.startswith("place")}
    assert set(LANDMARK_PAINTERS) - places == {"bridge"}
    styles = {each.description.split()[1] for name, each in concepts.items() if name.startswith("style")}
    assert styles == set(TECHNIQUES)


@pytest.mark.parametrize("landmark", sorted(LANDMARK_PAINTERS))
def test_a_landmark_has_both_its_colours(landmark: str) -> None:
    canvas, draw = blank_canvas()
    Place(landmark, "red", "blue", 0, None, 0)(Pen(draw, 0, 0, CANVAS_SIZE), random.Random(0))
    colours = {tuple(colour) for colour in np.asarray(canvas).reshape(-1, 3)}
    assert {PALETTE["red"], PALETTE["blue"]} <= colours


def test_the_folder_is_data_that_a_run_accepts(tmp_path: Path) -> None:
    concepts = fresh_concepts(1)
    assert write_concepts(tmp_path / "data", tmp_path / "tags.json", concepts) == 48
    loaded = load_concepts(tmp_path / "data")
    assert [len(each.images) for each in loaded] == [16, 16, 16]
    assert {each.name: each.trigger for each in loaded} == {name: each.trigger for name, each in concepts.items()}
    tags = json.loads((tmp_path / "tags.json").read_text())
    individual = next(name for name in concepts if name.startswith("individual"))
    assert all(set(concepts[individual].inherent) <= set(own) for path, own in tags.items() if individual in path)
    assert set(yaml.safe_load((tmp_path / "data/concepts.yaml").read_text())["concepts"]) == set(concepts)


@pytest.mark.parametrize(
    ("arguments", "name"), [((0,), "per_kind"), ((MAX_PER_KIND + 1,), "per_kind"), ((1, 7), "first_seed")]
)
def test_arguments_out_of_range_are_errors(arguments: tuple[int, ...], name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` must be"):
        fresh_concepts(*arguments)
