"""Claims about the setting that is recommended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from lycoris.analysis.decisions.recommendation import recommend
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.analysis.statistics.setting_scores import remove_column_effects, score_settings, validate_weights
from lycoris.analysis.text.recommendation_text import recommendation_lines
from lycoris.errors import InputError
from lycoris.report.recommendation_svg import render_svg

SCORES = {"fidelity": "image_similarity/trigger/clip", "diversity": "vendi/trigger/clip"}


@pytest.fixture
def ranked(tmp_path: Path):
    """The ranking of a study with these values: setting -> dimension -> a value a concept, None where not scored."""

    def make(values: dict[str, dict[str, list[float | None]]], **columns: str) -> Ranking:
        rows = [
            {"concept": f"c{place}", "algorithm": algorithm, "captions": "none", "seed": 0, "steps": 120,
             "learning_rate": 0.005, "rank": 8, "alpha": 8, "name": SCORES[dimension], "value": value, **columns}
            for algorithm, own in values.items() for dimension, each in own.items()
            for place, value in enumerate(each) if value is not None
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
        return rank_table(read_table(tmp_path / "scores.csv"))

    return make


STEADY = [0.1, 0.2, 0.3, 0.4]
CLEAR = {
    "lora": {"fidelity": [9.0, 9.1, 9.2, 9.3], "diversity": STEADY},
    "loha": {"fidelity": [8.0, 8.1, 8.2, 8.3], "diversity": [value + 1 for value in STEADY]},
    "full": {"fidelity": [1.0, 1.1, 1.2, 1.3], "diversity": [value - 1 for value in STEADY]},
}


def test_the_choice_is_on_the_front_and_the_dominated_is_not(ranked) -> None:
    result = recommend(ranked(CLEAR))
    assert {one.settings["algorithm"] for one in result.front} == {"lora", "loha"}
    assert result.choice.settings["algorithm"] == "loha"
    assert result.choice.rank["mean"] == pytest.approx(0.75)
    assert [one.settings["algorithm"] for one in result.options] == ["loha", "lora", "full"]


def test_weights_change_the_choice(ranked) -> None:
    assert recommend(ranked(CLEAR), weights={"fidelity": 3}).choice.settings["algorithm"] == "lora"
    only = recommend(ranked(CLEAR), weights={"fidelity": 0})
    assert (only.choice.settings["algorithm"], only.choice.rank["mean"]) == ("loha", 1.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"fidelty": 1}, "Did you mean `fidelity`"), ({"quality": -1}, "at least 0"), ({"quality": np.nan}, "at least 0"),
     (dict.fromkeys(("fidelity", "controllability", "diversity", "preservation", "quality"), 0), "above 0")],
)  # fmt: skip
def test_invalid_weights_are_errors(weights: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_weights(weights)


def test_weights_without_a_scored_dimension_are_an_error(ranked) -> None:
    with pytest.raises(InputError, match="with a score above 0"):
        recommend(ranked(CLEAR), weights={"fidelity": 0, "diversity": 0})


def test_a_file_too_large_is_left_out_and_the_smallest_is_named(ranked) -> None:
    sizes = {"lora · none": 100, "loha · none": 900, "full · none": 5000}
    result = recommend(ranked(CLEAR), file_sizes=sizes, max_file_size=500)
    assert result.choice.settings["algorithm"] == "lora"
    assert result.runner_up is None
    assert [one.left_out for one in result.options] == ["", "file too large", "file too large"]
    with pytest.raises(InputError, match="smallest file has 100"):
        recommend(ranked(CLEAR), file_sizes=sizes, max_file_size=50)
    with pytest.raises(InputError, match=r"study\.json"):
        recommend(ranked(CLEAR), max_file_size=500)


def test_of_two_equal_settings_the_smaller_file_is_chosen(ranked) -> None:
    same = {name: {"fidelity": [1.0, 2.0], "diversity": [1.0, 2.0]} for name in ("full", "lora")}
    result = recommend(ranked(same), file_sizes={"full · none": 9, "lora · none": 8})
    assert result.choice.settings["algorithm"] == "lora"
    assert result.difference["mean"] == 0
    assert result.is_separated is False


def test_a_setting_that_did_not_learn_is_chosen_only_if_none_did(ranked) -> None:
    learned = {"loha · none": 0.25, "lora · none": 0.5, "full · none": 1.0}
    assert recommend(ranked(CLEAR), win_rates=learned).choice.settings["algorithm"] == "lora"
    none = recommend(ranked(CLEAR), win_rates=dict.fromkeys(learned, 0.0))
    assert none.choice.settings["algorithm"] == "loha"
    assert any("no setting beats the base" in note for note in none.notes)


def test_a_steady_lead_is_separated_and_a_changing_one_is_not(ranked) -> None:
    steady = {"lora": {"fidelity": [2.0] * 6}, "full": {"fidelity": [1.0] * 6}}
    assert recommend(ranked(steady)).is_separated is True
    changing = {"lora": {"fidelity": [2.0, 0.0, 2.0, 0.0, 2.0]}, "full": {"fidelity": [1.0] * 5}}
    result = recommend(ranked(changing))
    assert result.is_separated is False
    assert "it is not separated from Full" in recommendation_lines(result, length_unit="steps")[1]
    alone = recommend(ranked({"lora": {"fidelity": [2.0]}, "full": {"fidelity": [1.0]}}))
    assert alone.is_separated is None
    assert "needs two seeds" in recommendation_lines(alone, length_unit="steps")[1]


@pytest.mark.parametrize(
    ("low", "high", "separated"), [(0.01, 0.2, True), (-0.2, -0.01, True), (0.0, 0.2, False), (-0.2, 0.0, False)]
)
def test_a_difference_whose_interval_touches_zero_is_not_separated(ranked, low: float, high: float, separated) -> None:
    result = replace(recommend(ranked(CLEAR)), difference={"mean": 0.0, "low": low, "high": high})
    assert result.is_separated is separated


def test_five_lines_name_the_choice_and_what_was_not_scored(ranked) -> None:
    worst = {"fidelity": [0.0] * 4, "diversity": [-9.0] * 4}
    values = {**CLEAR, "lokr": worst}
    lines = recommendation_lines(recommend(ranked(values), file_sizes={"loha · none": 123_456}), length_unit="steps")
    assert len(lines) == 5
    assert lines[0].startswith("Take LoHa, rank 8, alpha 8, learning rate 0.005, 120 steps, captions none (0.123 MB)")
    assert lines[3].startswith("Beside LoRA, it has less fidelity −.33")
    assert "more diversity +.33" in lines[3]
    assert "No score in controllability, preservation, quality" in lines[4]


def test_of_two_or_three_settings_only_who_is_ahead_is_said(ranked) -> None:
    lines = recommendation_lines(recommend(ranked(CLEAR)), length_unit="steps")
    assert "of 3 settings on 4 concepts: it is ahead in diversity; LoRA is ahead in fidelity." in lines[0]
    assert "separated from LoRA" in lines[1]
    assert not any("[" in line for line in lines), "an interval of ranks that are 0, ½ or 1 says nothing"
    same = {name: {"fidelity": [1.0, 2.0]} for name in ("full", "lora")}
    assert "none is ahead in fidelity" in recommendation_lines(recommend(ranked(same)), length_unit="steps")[0]


def test_a_single_setting_has_nothing_to_be_compared_with(ranked) -> None:
    lines = recommendation_lines(recommend(ranked({"lora": CLEAR["lora"]})), length_unit="steps")
    assert lines[0].startswith("There is nothing to compare: LoRA, rank 8")
    assert lines[0].endswith("is the only setting.")
    assert not any("Take" in line or "runner-up" in line for line in lines)
    poor = recommendation_lines(
        recommend(ranked({"lora": CLEAR["lora"]}), win_rates={"lora · none": 0.0}), length_unit="steps"
    )
    assert "has not learned enough yet" in poor[0]


def test_nothing_is_taken_where_nothing_learned(ranked) -> None:
    rates = dict.fromkeys(("lora · none", "loha · none", "full · none"), 0.25)
    lines = recommendation_lines(recommend(ranked(CLEAR), win_rates=rates), length_unit="steps")
    assert lines[0].startswith("Nothing learned enough yet")
    assert not any("Take" in line for line in lines)


def test_easier_concepts_give_no_advantage() -> None:
    effects, concepts = np.array([0.3, 0.5, 0.1]), np.array([0.0, 0.2, 0.4])
    table = effects[:, None] + concepts
    table[0, 0] = table[1, 2] = np.nan
    assert np.nanmean(remove_column_effects(table), axis=1) - effects == pytest.approx(np.full(3, 0.2))


def test_a_concept_with_a_single_setting_changes_no_mean() -> None:
    table = np.array([[0.0, 0.5], [1.0, np.nan], [0.5, np.nan]])
    assert np.nanmean(remove_column_effects(table), axis=1) == pytest.approx([0.0, 1.0, 0.5])


def test_complete_tables_keep_their_plain_means(ranked) -> None:
    ranking = ranked(CLEAR)
    places = [place for place, one in enumerate(ranking.measures) if (one.prompt_type, one.encoder) == ("all", "all")]
    assert score_settings(ranking).points == pytest.approx(ranking.group_ranks[:, :, places].mean(axis=1))


def test_a_setting_scored_on_few_concepts_is_not_chosen(ranked) -> None:
    values = {name: {"fidelity": own["fidelity"]} for name, own in CLEAR.items()}
    values["lokr"] = {"fidelity": [10.0, None, None, None]}
    result = recommend(ranked(values))
    assert result.choice.settings["algorithm"] == "lora"
    assert any("1 scored on less than half" in note for note in result.notes)


def test_a_setting_scored_on_half_of_the_concepts_can_be_chosen(ranked) -> None:
    values = {name: {"fidelity": own["fidelity"]} for name, own in CLEAR.items()}
    values["lokr"] = {"fidelity": [10.0, 10.0, None, None]}
    result = recommend(ranked(values))
    assert (result.choice.settings["algorithm"], result.choice.units) == ("lokr", 2)
    assert not any("less than half" in note for note in result.notes)


def test_one_concept_with_several_seeds_has_intervals_over_seeds(tmp_path: Path) -> None:
    rows = [
        {"concept": "c", "algorithm": name, "seed": seed, "value": value, "name": SCORES["fidelity"]}
        for name, value in (("lora", 1.0), ("full", 2.0)) for seed in range(3)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    result = recommend(rank_table(read_table(tmp_path / "scores.csv")))
    assert (result.unit, result.choice.units) == ("seed", 3)
    assert result.difference["low"] is not None


def test_the_plot_is_a_self_contained_svg(ranked) -> None:
    result = recommend(ranked(CLEAR))
    text = render_svg(result, title="What <to> take")
    tree = ElementTree.fromstring(text)
    lines_drawn = [one for one in tree.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [one.attrib["class"] for one in lines_drawn] == ["line dominated", "line runner-up", "line choice"]
    assert "href" not in text
    assert "choice: LoHa" in text


def test_the_published_table_has_a_recommendation(table) -> None:
    result = recommend(rank_table(table))
    assert result.choice.front
    assert result.missing
    means = [one.rank["mean"] for one in result.options if not one.left_out]
    assert means == sorted(means, reverse=True)
