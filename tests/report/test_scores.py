"""Verdicts and summaries of scores follow from their intervals alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from lycoris.report.run.scores import (
    decimal_places,
    headline_measures,
    intervals_overlap,
    reported_measures,
    score_effect,
    score_verdict,
)
from lycoris.report.run.summaries import summarize_scores
from tests.report.run_record import SIMILARITY, STYLE, TEXT, score


def measure(study, name):
    return next(one for one in reported_measures(study) if one.name == name)


def test_a_score_name_is_taken_apart_and_ordered_by_dimension(study):
    known = reported_measures(study)
    assert [one.name for one in known] == [SIMILARITY, TEXT, STYLE]
    assert (known[0].metric, known[0].prompt_type, known[0].encoder) == ("image_similarity", "trigger", "clip")
    assert known[0].dimension == "fidelity"
    assert known[2].higher_is_better is False


def test_the_headline_prefers_the_prompt_type_of_its_dimension():
    scores = {f"image_similarity/{kind}/{encoder}": {"value": 1.0} for kind in ("alter", "trigger") for encoder in "ab"}
    known = reported_measures(
        {
            "metrics": {"image_similarity": {"dimension": "fidelity", "higher_is_better": True}},
            "adapters": [{"scores": scores}],
        }
    )
    assert headline_measures(known, scores)["fidelity"].name == "image_similarity/trigger/a"
    only = [name for name in scores if "alter" in name]
    assert headline_measures(known, only)["fidelity"].name == "image_similarity/alter/a"


@pytest.mark.parametrize(
    ("difference", "higher", "expected"),
    [
        (0.1, True, "better"),
        (0.1, False, "worse"),
        (-0.1, True, "worse"),
        (-0.1, False, "better"),
        (0.01, True, "none"),
    ],
)
def test_a_difference_is_shown_only_when_its_interval_leaves_out_zero(study, difference, higher, expected):
    one = replace(measure(study, SIMILARITY), higher_is_better=higher)
    assert score_verdict(score(difference, base=0.5, width=0.05), one) == expected


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.2), (-0.2, 0.0), (0.0, 0.0)])
def test_an_interval_that_touches_zero_shows_no_difference(study, low, high, higher):
    one = replace(measure(study, SIMILARITY), higher_is_better=higher)
    assert score_verdict({"difference": 0.1, "difference_low": low, "difference_high": high}, one) == "none"


def test_without_an_interval_the_verdict_is_unknown(study):
    assert score_verdict({"difference": 0.5}, measure(study, SIMILARITY)) == "unknown"


def test_a_distance_from_the_base_is_neither_better_nor_worse_than_it(study):
    style = measure(study, STYLE)
    assert style.from_base
    assert score_verdict(score(0.3, base=0.0, width=0.01), style) == "unknown"
    assert score_effect({"value": 0.3, "low": 0.2, "high": 0.4}, style) == (0.3, 0.2, 0.4)


def test_intervals_that_touch_are_not_separated(study):
    one = measure(study, SIMILARITY)
    near, far = (score_effect(score(value, base=0.0, width=0.05), one) for value in (0.1, 0.3))
    assert not intervals_overlap(near, far)
    assert intervals_overlap(near, score_effect(score(0.2, base=0.0, width=0.05), one))
    assert intervals_overlap(near, score_effect({"difference": 9.0}, one))


def test_the_leader_is_named_with_its_lead(study):
    own = [adapter for adapter in study["adapters"] if adapter["concept"] == "hornling"]
    text = str(summarize_scores(measure(study, SIMILARITY), "hornling", own, with_seed=False))
    assert text == (
        "LoKr with captions `none` leads for hornling: +.250 [.220, .280] against the base, "
        "not separated from LoKr with captions `all`."
    )


def test_no_leader_is_named_where_no_difference_is_shown(study):
    own = [adapter for adapter in study["adapters"] if adapter["concept"] == "hornling"]
    result = summarize_scores(measure(study, TEXT), "hornling", own, with_seed=False)
    assert result.verdict == "none"
    assert "No adapter beats the base" in str(result)
    assert "the best is LoRA with captions `all`" in str(result)


EFFECTS = {
    "better": [(0.3, 0.1), (0.05, 0.03)],
    "none": [(0.4, 0.5), (0.1, 0.2), (0.0, 0.1), (-0.1, 0.2), (-0.5, 0.6)],
    "worse": [(-0.05, 0.03), (-0.3, 0.1)],
    "small": [(0.002, 0.001), (-0.002, 0.001)],
}
"""Verdict -> differences with half the width of their interval."""


@pytest.mark.parametrize("higher", [True, False])
def test_a_sentence_agrees_with_the_verdicts_it_stands_above(study, higher):
    one = replace(measure(study, SIMILARITY), higher_is_better=higher)
    sign = 1 if higher else -1
    cases = [(verdict, *effect) for verdict, effects in EFFECTS.items() for effect in effects]
    for first, second in itertools.product(cases, repeat=2):
        own = [
            {"algorithm": name, "scores": {SIMILARITY: score(sign * difference, base=0.5, width=width)}}
            for name, (_, difference, width) in zip("ab", (first, second), strict=True)
        ]
        verdicts = {first[0], second[0]}
        found = summarize_scores(one, "hornling", own, with_seed=False)
        lead, number = found.lead, float(found.number.replace("−", "-"))
        assert ("No adapter" in lead or "worse than" in lead) == ("better" not in verdicts), (first, second, lead)
        assert ("Every adapter is worse" in lead) == (verdicts == {"worse"}), (first, second, lead)
        assert (found.verdict == "better") == ("better" in verdicts)
        if "the best is" in lead or ("No adapter" not in lead and "worse than" not in lead):
            assert number * sign > 0, (first, second, str(found))
        if " differs by more" in found.tail:
            assert "leads" not in lead


def test_preservation_is_led_by_the_one_closest_to_the_base(study):
    own = [adapter for adapter in study["adapters"] if adapter["concept"] == "biscuit"]
    text = str(summarize_scores(measure(study, STYLE), "biscuit", own, with_seed=True))
    assert text == (
        "LoRA with captions `none`, seed 0 stays closest to the base for biscuit (0 is the base unchanged): "
        ".100 [.080, .120] from the base's images, ahead of every other."
    )


def test_a_single_adapter_has_no_superlative(study):
    own = [next(one for one in study["adapters"] if STYLE in (one.get("scores") or {}))]
    text = str(summarize_scores(measure(study, STYLE), "biscuit", own, with_seed=False))
    assert "(0 is the base unchanged, more is a larger change):" in text
    assert text.endswith("] from the base's images.")
    assert "closest" not in text


@pytest.mark.parametrize(
    ("difference", "width", "expected"),
    [
        (0.17, None, "a does not beat the base for bear: +.170 against the base (lower is better, so worse; without an "
        "interval this may be chance)."),
        (0.17, 0.3, "a does not beat the base for bear: +.170 [−.130, .470] against the base (lower is better, so "
        "worse; its interval includes 0, so this may be chance)."),
        (-0.17, 0.1, "a leads for bear: −.170 [−.270, −.070] against the base (lower is better, so better)."),
    ],
)  # fmt: skip
def test_where_lower_is_better_the_sign_is_said_in_words(study, difference, width, expected):
    one = replace(measure(study, SIMILARITY), higher_is_better=False)
    entry = score(difference, base=0.5, width=width or 0)
    if width is None:
        entry |= {"difference_low": None, "difference_high": None}
    own = [{"algorithm": "a", "scores": {SIMILARITY: entry}}]
    assert str(summarize_scores(one, "bear", own, with_seed=False)) == expected


def test_without_scores_there_is_no_summary(study):
    assert (
        summarize_scores(measure(study, TEXT), "x", [{"algorithm": "lora", "error": "failed"}], with_seed=False) is None
    )


def test_decimals_show_three_digits_of_the_largest():
    assert decimal_places([0.61, 0.2]) == 3
    assert decimal_places([88.0, 3.0]) == 1
    assert decimal_places([1234.0]) == 0
    assert decimal_places([3e-7]) is None
    assert decimal_places([None, float("nan")]) == 2
