"""Verdicts and clipping of scores, at the ends of their intervals."""

from __future__ import annotations

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
    assert _verdict(interval, True) == rising
    assert _verdict(interval, False) == falling


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
