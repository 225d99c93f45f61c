"""Verdicts and clipping of scores, at the ends of their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lycoris.metrics import METRICS, FeatureSet, PromptSpec, compare
from lycoris.metrics.score import _clip_interval, _verdict


@pytest.mark.parametrize(
    ("interval", "rising", "falling"),
    [
        ((1e-9, 1.0), "better", "worse"),
        ((-1.0, -1e-9), "worse", "better"),
        ((0.0, 1.0), "no difference shown", "no difference shown"),
        ((-1.0, 0.0), "no difference shown", "no difference shown"),
        ((-1.0, 1.0), "no difference shown", "no difference shown"),
        ((0.0, 0.0), "no difference shown", "no difference shown"),
        (None, None, None),
    ],
)
def test_a_verdict_needs_an_interval_that_excludes_zero(interval, rising, falling) -> None:
    difference = None if interval is None else sum(interval) / 2
    assert _verdict("image_similarity/trigger/clip", difference, interval, 0.5) == rising
    assert _verdict("squared_centroid_distance/trigger/clip", difference, interval, 0.5) == falling


@pytest.mark.parametrize(
    ("metric", "base", "smallest"),
    [("image_similarity", 0.7, 0.01), ("squared_centroid_distance", 0.7, 0.02), ("vendi", 4.0, 0.04)],
)
def test_a_shown_difference_matters_from_a_hundredth_of_the_scale_on(metric, base, smallest) -> None:
    better, worse = ("better", "worse") if METRICS[metric].higher_is_better else ("worse", "better")
    for factor, rising, falling in ((0.99, *["too small to matter"] * 2), (1.0, better, worse)):
        size = smallest * factor
        assert _verdict(f"{metric}/trigger/clip", size, (size / 2, 2 * size), base) == rising
        assert _verdict(f"{metric}/trigger/clip", -size, (-2 * size, -size / 2), base) == falling
        assert _verdict(f"{metric}/trigger/clip", size, (-size, 2 * size), base) == "no difference shown"


def test_the_document_lists_every_scale() -> None:
    section = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text().split("## Verdicts")[1].split("\n## ")[0]
    lines = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    documented = {}
    for names, scales in lines:
        own = names.replace("`", "").replace(" ", "").split(",")
        values = [None if "base" in scale else float(scale) for scale in scales.split(",")]
        documented |= dict(zip(own, values if len(values) > 1 else values * len(own), strict=True))
    assert documented == {name: one.scale for name, one in METRICS.items()}


OF_NEIGHBOURS = {"density", "coverage", "retrieval_precision"}
"""Metrics that count neighbours: equal images, at no distance of each other, have none that differ from the others."""


@pytest.mark.parametrize(
    "metric",
    [
        name
        for name, one in METRICS.items()
        if one.feature_kind == "image" and one.inputs and one.scale is not None and name not in OF_NEIGHBOURS
    ],
)
def test_the_scale_of_a_metric_is_the_difference_between_equal_and_unrelated_images(metric) -> None:
    equal, unrelated = (np.tile(np.eye(4)[row], (6, 1)) for row in (0, 1))
    entry = METRICS[metric]
    roles = {"references": equal, "texts": equal, "base": unrelated if "texts" in entry.inputs else equal}
    values = [entry.function(*[roles[role] for role in entry.inputs], images) for images in (equal, unrelated)]
    assert abs(values[0] - values[1]) == pytest.approx(entry.scale, rel=0.02)


@pytest.mark.parametrize("metric", sorted(OF_NEIGHBOURS))
def test_the_scale_of_a_metric_of_neighbours_is_that_of_images_in_two_clusters(metric) -> None:
    generator = np.random.default_rng(0)
    equal, unrelated, look_alikes = (
        np.eye(12)[row] + 0.01 * generator.normal(size=(count, 12)) for row, count in ((0, 6), (1, 6), (1, 600))
    )
    roles = {"references": equal, "look_alikes": look_alikes}
    entry = METRICS[metric]
    values = [entry.function(*[roles[role] for role in entry.inputs], images) for images in (equal, unrelated)]
    assert values[0] - values[1] == pytest.approx(entry.scale, rel=0.02)


@pytest.mark.parametrize(
    ("metric", "interval", "expected"),
    [
        ("feature_drift", (-0.5, 2.5), (0.0, 2.0)),
        ("feature_drift", (0.5, 1.5), (0.5, 1.5)),
        ("vendi", (0.2, 30.0), (1.0, 30.0)),
        ("image_similarity", (-2.0, 0.5), (-1.0, 0.5)),
        ("image_similarity", (-0.5, 2.0), (-0.5, 1.0)),
        ("frechet_infinity", (-5.0, 5.0), (-5.0, 5.0)),
        ("vendi", None, (None, None)),
    ],
)
def test_an_interval_is_clipped_to_the_range_of_its_metric(metric, interval, expected) -> None:
    assert _clip_interval(interval, METRICS[metric]) == expected


def test_scores_of_both_models_have_clipped_intervals() -> None:
    """Of three images one is far away: Student's interval of their mean reaches below 0 and above 1."""
    references = np.array([[1.0, 0.0]])
    generated = np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    prompts = tuple(PromptSpec("a sks cat", "a cat", seed) for seed in range(3))
    own, base = ({"trigger": FeatureSet({"image/clip": sign * generated}, prompts)} for sign in (1.0, -1.0))
    (score,) = compare(FeatureSet({"image/clip": references}), own, base, category="toys", metrics=["image_similarity"])
    assert score.value == pytest.approx(1 / 3, abs=0.01)
    assert (score.low, score.high) == (-1.0, 1.0)
    assert (score.base_low, score.base_high) == (-1.0, 1.0)
    assert score.difference_low is not None
    assert score.difference_low < -2  # the range of a score does not bound that of a difference
