"""Expectations are decided by the interval over concepts and Holm's correction, at both ends."""

from __future__ import annotations

import csv
import random
from dataclasses import replace

import numpy as np
import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.effects import comparisons, mean_over_pairs, shared_prompts_only
from lycoris.analysis.statistics.expectations import (
    MIN_CONCEPTS,
    SIGNIFICANCE_LEVEL,
    Expectation,
    concept_differences,
    decide,
    evaluate_expectations,
    holm,
    p_value,
)
from lycoris.analysis.statistics.group_means import GroupMean, mean_over_groups
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.analysis.text.expectation_text import describe_results
from lycoris.errors import InputError

EPSILON = 1e-9
MEASURES = (
    *("image_similarity/alter/clip", "image_similarity/trigger/clip", "squared_centroid_distance/alter/clip"),
    *("text_similarity/alter/clip", "text_similarity/trigger/clip", "attribute_recall/alter/tagger"),
)
HIGHER = Expectation("fidelity", "higher", "captions", "none", "all")


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """Twelve concepts, the last a scene: `none` is better in fidelity, worse in text similarity of `alter`."""
    rng = random.Random(0)
    rows = []
    for number in range(12):
        place = ("scenes" if number == 11 else "toys", f"c{number:02d}")
        for algorithm in ("lora", "lokr"):
            for captions in ("none", "all"):
                for seed in (0, 1):
                    none = captions == "none"
                    means = (none, none, -none, -none, none, 0)
                    for name, mean in zip(MEASURES, means, strict=True):
                        rows.append([*place, algorithm, captions, seed, name, mean + rng.gauss(0, 0.3)])
    file = tmp_path_factory.mktemp("scores") / "scores.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["category", "concept", "algorithm", "captions", "seed", "name", "value"], *rows])
    return rank_table(read_table(file))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(EPSILON, 1.0, "confirmed"), (0.0, 1.0, "not confirmed"), (-1.0, 1.0, "not confirmed"),
     (-1.0, -EPSILON, "contradicted"), (-1.0, 0.0, "not confirmed"), (0.0, 0.0, "not confirmed")],
)  # fmt: skip
def test_an_expectation_is_decided_beyond_zero_alone(low: float, high: float, expected: str) -> None:
    effect = GroupMean((low + high) / 2, low, high, MIN_CONCEPTS)
    opposite = GroupMean(-effect.mean, -high, -low, MIN_CONCEPTS)
    assert decide(effect, HIGHER, 0.0) == expected
    assert decide(opposite, replace(HIGHER, direction="lower"), 0.0) == expected
    assert decide(replace(effect, groups=MIN_CONCEPTS - 1), HIGHER, 0.0) == "not confirmed"
    assert decide(effect, HIGHER, SIGNIFICANCE_LEVEL) == expected
    assert decide(effect, HIGHER, SIGNIFICANCE_LEVEL + EPSILON) == "not confirmed"


def test_an_interval_must_lie_beyond_the_smallest_difference_to_confirm_and_beyond_zero_to_contradict() -> None:
    one = replace(HIGHER, smallest_difference=0.1)
    assert decide(GroupMean(0.5, 0.1, 0.9, 9), one, 0.0) == "not confirmed"
    assert decide(GroupMean(0.5, 0.1 + EPSILON, 0.9, 9), one, 0.0) == "confirmed"
    assert decide(GroupMean(-0.05, -0.09, -EPSILON, 9), one, 0.0) == "contradicted"
    assert decide(GroupMean(0.05, None, None, 1), one, 0.0) == "not confirmed"


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_differences_are_those_of_the_dimension_concept_by_concept(ranking: Ranking) -> None:
    own = shared_prompts_only(ranking, "captions")
    [one] = comparisons(own.settings, ("captions",))
    sign = 1 if one.level == "none" else -1
    for name in ("fidelity", "controllability"):
        [index] = [i for i, m in enumerate(own.measures) if (m.metric, m.encoder) == (name, "all")]
        expected = mean_over_pairs(one.rank_differences(own))[:, index] * sign
        assert concept_differences(ranking, replace(HIGHER, metric=name)) == pytest.approx(expected)
    backwards = replace(HIGHER, level="all", against="none")
    assert concept_differences(ranking, backwards) == pytest.approx(-concept_differences(ranking, HIGHER))


def test_where_selects_settings_categories_concepts_and_prompts(ranking: Ranking) -> None:
    def count(**where: tuple[str, ...]) -> int:
        return len(concept_differences(ranking, replace(HIGHER, where=where)))

    assert (count(), count(category=("toys",)), count(concept=("c00", "c11"))) == (12, 11, 2)
    assert count(algorithm=("full",)) == count(prompt_type=("style",)) == 0
    lora, lokr, both = (
        concept_differences(ranking, replace(HIGHER, where={"algorithm": names}))
        for names in (("lora",), ("lokr",), ("lora", "lokr"))
    )
    assert not np.allclose(lora, lokr)
    assert both == pytest.approx((lora + lokr) / 2)
    [alter] = [i for i, m in enumerate(ranking.measures) if m.name == "text_similarity/alter/clip"]
    ranks = ranking.group_ranks[:, :, alter]
    signs = np.where(ranking.settings["captions"] == "none", 0.5, -0.5)
    own = replace(HIGHER, metric="text_similarity", where={"prompt_type": ("alter",)})
    assert concept_differences(ranking, own) == pytest.approx(signs @ ranks)


def test_a_study_confirms_contradicts_and_leaves_open(ranking: Ranking) -> None:
    text = Expectation("text_similarity", "higher", "captions", "none", "all", {"prompt_type": ("alter",)})
    recall = Expectation("attribute_recall", "higher", "captions", "none", "all")
    results = evaluate_expectations(ranking, [HIGHER, text, recall])
    assert [one.verdict for one in results] == ["confirmed", "contradicted", "not confirmed"]
    assert [one.effect.groups for one in results if one.effect] == [12, 12, 12]
    assert all(one.adjusted_p >= one.p for one in results)
    lines = describe_results(results)
    assert lines[0].startswith("Confirmed: fidelity higher with `none` than with `all`: +")
    assert lines[1].startswith(
        "Contradicted: text similarity higher with `none` than with `all` (prompt type alter): −"
    )
    assert "12 concepts, p < .001 after correction" in lines[0]
    few = replace(HIGHER, where={"concept": ("c00", "c01")})
    missing = replace(HIGHER, level="sentence")
    assert [one.verdict for one in evaluate_expectations(ranking, [few, missing])] == ["not confirmed"] * 2
    assert describe_results(evaluate_expectations(ranking, [few]))[0].endswith("2 concepts, too few to decide.")
    assert describe_results(evaluate_expectations(ranking, [missing]))[0].endswith("no runs to test it on.")


def test_more_expectations_make_each_harder_to_confirm(ranking: Ranking) -> None:
    """The correction counts all expectations of a study, also those that nothing is known of."""
    [alone] = evaluate_expectations(ranking, [HIGHER])
    many = evaluate_expectations(ranking, [HIGHER, *[replace(HIGHER, level="sentence")] * 9])
    assert many[0].adjusted_p == pytest.approx(10 * alone.p)


def test_measures_that_a_dimension_leaves_out_are_reported_beside_and_do_not_decide(ranking: Ranking) -> None:
    one = replace(HIGHER, metric="controllability", direction="lower")
    both = replace(one, also_with=("text_similarity/trigger",))
    [without], [result] = evaluate_expectations(ranking, [one]), evaluate_expectations(ranking, [both])
    assert (result.verdict, result.effect, result.p) == (without.verdict, without.effect, without.p)
    assert result.also is not None
    assert result.effect is not None
    assert result.also.mean > result.effect.mean + 0.1  # the trigger's text similarity goes the other way
    assert "with `text_similarity/trigger` as well: " in describe_results([result])[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"metric": "fidelty"}, "Did you mean `fidelity`"), ({"direction": "up"}, "higher, lower"),
     ({"factor": "caption"}, "Did you mean `captions`"), ({"against": "none"}, "twice"),
     ({"where": {"categry": ("a",)}}, "Did you mean `category`"), ({"where": {"captions": ("all",)}}, "as well"),
     ({"where": {"prompt_type": ("alte",)}}, "Did you mean `alter`"), ({"smallest_difference": 1.0}, r"\[0, 1\)"),
     ({"also_with": ("text_similarty/trigger",)}, "Did you mean `text_similarity`")],
)  # fmt: skip
def test_an_expectation_that_cannot_be_is_an_error(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(HIGHER, **change)


def test_where_nothing_is_expected_rightly_one_study_in_twenty_decides_something() -> None:
    """Three true null hypotheses each in 200 studies of 12 concepts."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        own = rng.normal(0, 0.2, (3, 12)).clip(-1, 1)
        adjusted = holm([p_value(one, HIGHER) for one in own])
        effects = [mean_over_groups(one, minimum=-1.0) for one in own]
        wrong += any(decide(e, HIGHER, p) != "not confirmed" for e, p in zip(effects, adjusted, strict=True))
    assert 0.01 < wrong / 200 < 0.09
