"""Verdicts of the analysis, at the ends of their intervals: 0 itself never decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lycoris.analysis.decisions.champion_selection import beats_base
from lycoris.analysis.decisions.promotion import decide_promotion
from lycoris.analysis.decisions.recommendation import Recommendation
from lycoris.analysis.statistics.category_effects import ALL_CATEGORIES, third_finding_by_category
from lycoris.analysis.statistics.group_means import mean_over_groups
from lycoris.report.run.scores import ReportedMeasure, score_verdict
from lycoris.report.study.answer import effect_verdict

EPSILON = 1e-9
ENDS = [
    ((EPSILON, 1.0), "better"),
    ((-1.0, -EPSILON), "worse"),
    ((0.0, 1.0), "none"),
    ((-1.0, 0.0), "none"),
    ((0.0, 0.0), "none"),
    ((-1.0, 1.0), "none"),
]
MEASURE = ReportedMeasure("vendi/alter/clip", "vendi", "alter", "clip", "diversity", True, 2, False, "")


@pytest.mark.parametrize("values", [[0.01, 0.02, 0.9], [0.02] * 8 + [0.9, 0.9]])
def test_the_interval_of_a_mean_ends_at_the_smallest_value_there_can_be(values: list[float]) -> None:
    wide = mean_over_groups(np.array(values), minimum=-1.0)
    cut = mean_over_groups(np.array(values), minimum=0.3)
    assert wide is not None
    assert cut is not None
    assert wide.low < 0.3
    assert cut.low == 0.3
    assert (cut.mean, cut.high) == (wide.mean, wide.high)


def test_the_interval_of_a_mean_ends_at_one() -> None:
    mean = mean_over_groups(np.array([0.99, 0.98, 0.1]), minimum=0.0)
    assert mean is not None
    assert (mean.low, mean.high) == (0.0, 1.0)


@pytest.mark.parametrize(("ends", "expected"), ENDS)
def test_a_reported_score_is_better_or_worse_beyond_zero_alone(ends: tuple[float, float], expected: str) -> None:
    record: Any = {"value": 1.0, "difference": sum(ends) / 2, "difference_low": ends[0], "difference_high": ends[1]}
    opposite = {"better": "worse", "worse": "better"}.get(expected, expected)
    assert score_verdict(record, MEASURE) == expected
    assert score_verdict(record, replace(MEASURE, higher_is_better=False)) == opposite
    assert score_verdict(record, replace(MEASURE, from_base=True)) == "unknown"


@pytest.mark.parametrize(("ends", "expected"), ENDS)
def test_an_effect_is_shown_beyond_zero_alone(ends: tuple[float, float], expected: str) -> None:
    assert effect_verdict(*ends) == expected
    assert effect_verdict(None, ends[1]) == "unknown"


@pytest.mark.parametrize(("ends", "expected"), ENDS)
def test_choice_and_runner_up_are_separated_beyond_zero_alone(ends: tuple[float, float], expected: str) -> None:
    difference = {"mean": sum(ends) / 2, "low": ends[0], "high": ends[1]}
    assert Recommendation([], None, difference, {}, (), {}, "concept").is_separated == (expected != "none")


@pytest.mark.parametrize(("ends", "expected"), ENDS)
def test_a_finding_holds_beyond_zero_alone(ends: tuple[float, float], expected: str) -> None:
    row = {"category": ALL_CATEGORIES, "factor": "captions", "metric": "fidelity", "prompt_type": "all",
           "encoder": "all", "effect": 0.0, "low": ends[0], "high": ends[1]}  # fmt: skip
    held = {"better": True, "worse": False, "none": None}[expected]
    for levels, answer in ((("none", "all"), held), (("all", "none"), None if held is None else not held)):
        effects = pd.DataFrame([{**row, "level": levels[0], "against": levels[1]}])
        assert third_finding_by_category(effects)[ALL_CATEGORIES] == {"fidelity": answer}


def record(name: str, low: float, high: float) -> dict[str, Any]:
    return {"name": name, "difference": (low + high) / 2, "difference_low": low, "difference_high": high,
            "higher_is_better": True, "note": ""}  # fmt: skip


@pytest.mark.parametrize(("ends", "expected"), ENDS)
def test_a_challenger_is_better_in_its_goal_beyond_zero_alone(ends: tuple[float, float], expected: str) -> None:
    decision = decide_promotion([record("image_similarity/trigger/clip", *ends)])
    assert decision.promoted == (expected == "better")
    assert decision.dimensions["fidelity"] == {"none": "no difference shown"}.get(expected, expected)


@pytest.mark.parametrize(("ends", "expected"), ENDS)
def test_an_adapter_beats_the_base_beyond_zero_alone(ends: tuple[float, float], expected: str) -> None:
    assert beats_base([record("image_similarity/trigger/clip", *ends)]) == (expected == "better")
    both = [record("image_similarity/trigger/clip", *ends), record("image_similarity/trigger/dino", 0.1, 0.2)]
    assert beats_base(both) == beats_base(both[::-1]) == (expected == "better")  # in every encoder


@pytest.mark.parametrize(("difference", "matters"), [(0.0099, False), (0.01, True)])
def test_a_shown_difference_that_is_too_small_to_matter_is_not_learning(difference: float, matters: bool) -> None:
    row = {**record("image_similarity/trigger/clip", 0.0, 0.0), "difference": difference, "difference_low": 1e-6}
    assert beats_base([row]) == matters


def test_a_reported_score_that_is_too_small_to_matter_is_neither_better_nor_worse() -> None:
    measure = replace(MEASURE, name="frechet_distance/train/clip", higher_is_better=False)
    score: Any = {"value": 0.5, "base": 0.501, "difference": -0.001, "difference_low": -0.002, "difference_high": -1e-4}
    assert score_verdict(score, measure) == "small"
    assert score_verdict({**score, "difference": -0.02}, measure) == "better"


@pytest.mark.parametrize(("high", "promoted"), [(-0.1, True), (-0.1 - EPSILON, False), (-0.05, True)])
def test_another_dimension_may_lose_as_much_as_is_allowed_and_no_more(high: float, promoted: bool) -> None:
    scores = [record("image_similarity/trigger/clip", 0.1, 0.2), record("text_similarity/alter/clip", -1.0, high)]
    assert decide_promotion(scores, tolerances={"controllability": 0.1}).promoted == promoted
