"""Identity by retrieval: average precision, and what it finds that similarity misses."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lycoris.encoders import open_encoder
from lycoris.metrics import FeatureSet, PromptSpec, compare_models
from lycoris.metrics.intervals import confidence_interval, estimate_metric
from lycoris.metrics.retrieval import retrieval_precision
from lycoris.pocket.world.concept_images import concept_images, draw_concept_image, plan_tags
from lycoris.pocket.world.concepts import CONCEPTS
from lycoris.pocket.world.look_alikes import draw_look_alikes, look_alikes
from lycoris.terms import PROMPT_TYPES


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.4, 1, (count, 6))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_it_is_the_mean_average_precision_of_scikit_learn_with_ties() -> None:
    own, others, queries = rows(5, 0), rows(9, 1), rows(7, 2)
    others[:3] = own[:3]  # as close as references, to every query
    truth = np.repeat([1, 0], [5, 9])
    cosines = np.round(unit(queries) @ unit(np.concatenate([own, others])).T, 12)
    expected = np.mean([average_precision_score(truth, row) for row in cosines])
    assert retrieval_precision(own, others, queries) == pytest.approx(expected, abs=1e-12)


def test_it_is_one_where_every_reference_is_closer_and_the_worst_value_where_none_is() -> None:
    near, far = np.eye(4)[:2] + 0.1, -np.eye(4)[:2]
    assert retrieval_precision(near, far, near) == 1
    worst = np.mean([1 / 3, 2 / 4])
    assert retrieval_precision(far, near, near) == pytest.approx(np.mean([worst, worst]), abs=0.1)


def test_the_interval_over_images_has_its_nominal_coverage() -> None:
    generator = np.random.default_rng(0)
    own, others = generator.normal(0.5, 1, (6, 8)), generator.normal(0.3, 1, (12, 8))
    truth = retrieval_precision(own, others, generator.normal(0.4, 1, (20_000, 8)))
    inside = 0
    for _ in range(300):
        low, high = confidence_interval(
            estimate_metric(retrieval_precision, [own, others, generator.normal(0.4, 1, (12, 8))]), resamples=400
        )
        inside += low <= truth <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_look_alikes_differ_from_the_concept_in_one_attribute() -> None:
    individual = CONCEPTS["biscuit"].characters[""]
    others = look_alikes(individual)
    assert list(others) == ["species", "colour", "ears", "belly", "patch", "spots"]
    for attribute, other in others.items():
        mine, theirs = ({**vars(each), **vars(each.details)} for each in (individual, other))
        changed = {name for name in mine if mine[name] != theirs[name]} - {"details"}
        assert changed == {attribute}
    drawn = list(draw_look_alikes("biscuit", 8))
    assert [attribute for attribute, _ in drawn][:7] == [*others, "species"]


def test_it_finds_the_missing_patch_that_similarity_misses() -> None:
    """Two adapters, one of which draws the individual, the other one without its patch: ConvNeXt V2 at 64 pixels."""
    concept, encoder = CONCEPTS["biscuit"], open_encoder("convnextv2")
    individual = concept.characters[""]

    def features(images) -> np.ndarray:
        return encoder.image_features(images).numpy()

    def generated(character) -> FeatureSet:
        rng = random.Random(5)
        tags = [each for _ in range(2) for each in plan_tags(concept, rng)]
        images = [draw_concept_image(concept, character, own, random.Random(n)) for n, own in enumerate(tags)]
        prompts = tuple(PromptSpec("a bunny", "a bunny", n) for n in range(len(images)))
        return FeatureSet({"image/convnextv2": features(images)}, prompts)

    references = FeatureSet({"image/convnextv2": features([image for _, image, _ in concept_images("biscuit")])})
    gallery = FeatureSet({"image/convnextv2": features([image for _, image in draw_look_alikes("biscuit", 36)])})
    sets = [{"trigger": generated(each)} for each in (individual, look_alikes(individual)["patch"])]
    scores = compare_models(
        references, *sets, category="stuffed_toys", metrics=["image_similarity", "retrieval_precision"],
        look_alikes=gallery,
    )  # fmt: skip
    similarity, retrieval = scores
    assert similarity.verdict in ("no difference shown", "too small to matter")
    assert retrieval.verdict == "better"
    assert retrieval.difference > 0.03
    assert set(PROMPT_TYPES) > {"trigger"}
