"""The comparison of a challenger with the champion."""

import dataclasses

import numpy as np
import pytest

from lycoris.errors import InputError
from lycoris.metrics import FeatureSet, PromptSpec, compare, compare_with_champion

ENCODERS = ("clip", "dinov2")


def features(rows, seed, towards=None, weight=0.0, prompts=True):
    """Random features, moved towards a direction; every one may be asked about."""
    generator = np.random.default_rng(seed)
    arrays = {
        f"image/{name}": generator.normal(size=(rows, 12)) + weight * (towards if towards is not None else 0)
        for name in ENCODERS
    }
    arrays["text/clip"] = generator.normal(size=(rows, 12))
    arrays["style/vgg"] = generator.normal(size=(rows, 12)) + weight
    prompt_specs = tuple(PromptSpec(f"a {row}", f"a {row}", row, 0) for row in range(rows)) if prompts else ()
    return FeatureSet(arrays, prompt_specs)


@pytest.fixture
def direction():
    return np.random.default_rng(5).normal(size=12)


@pytest.fixture
def sets(direction):
    kinds = ("trigger", "style", "train")
    base = {kind: features(12, number) for number, kind in enumerate(kinds)}
    near = {kind: features(12, 10 + number, direction, 2.0) for number, kind in enumerate(kinds)}
    far = {kind: features(12, 20 + number, direction, 0.5) for number, kind in enumerate(kinds)}
    return FeatureSet(features(6, 99, direction, 3.0).arrays, ()), near, far, base


def test_values_are_those_of_each_model_and_the_difference_is_theirs(sets):
    references, near, far, base = sets
    own = {score.name: score.value for score in compare(references, near, base, category="toys")}
    other = {score.name: score.value for score in compare(references, far, base, category="toys")}
    found = {score.name: score for score in compare_with_champion(references, near, far, base, category="toys")}
    assert found.keys() == own.keys()
    for name, score in found.items():
        assert score.value == own[name]
        assert score.base == other[name]
        assert score.difference == pytest.approx(own[name] - other[name])


def test_the_closer_model_has_more_fidelity_and_less_preservation(sets):
    found = {score.name: score for score in compare_with_champion(*sets, category="toys")}
    assert found["image_similarity/trigger/clip"].verdict == "better"
    assert found["style_loss/style/vgg"].verdict == "worse"


def test_swapping_the_models_flips_every_difference(sets):
    references, near, far, base = sets
    there = compare_with_champion(references, near, far, base, category="toys")
    back = compare_with_champion(references, far, near, base, category="toys")
    for one, other in zip(there, back, strict=True):
        assert one.difference == pytest.approx(-other.difference)


def test_a_model_does_not_differ_from_itself(sets):
    references, near, _, base = sets
    assert {score.verdict for score in compare_with_champion(references, near, near, base, category="toys")} == {
        "no difference shown"
    }


def test_different_prompts_are_an_error(sets):
    references, near, far, base = sets
    moved = tuple(dataclasses.replace(each, seed=each.seed + 1) for each in far["style"].prompts)
    with pytest.raises(InputError, match="same prompts"):
        compare_with_champion(
            references, near, {**far, "style": FeatureSet(far["style"].arrays, moved)}, base, category="toys"
        )
    with pytest.raises(InputError, match="same prompts"):
        compare_with_champion(references, near, {"trigger": far["trigger"]}, base, category="toys")
