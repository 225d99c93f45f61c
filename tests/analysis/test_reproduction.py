"""Claims of docs/reproduction.md, made anew from the published table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.correlations import agreement_by_attribute, correlate, measure_pairs
from lycoris.analysis.statistics.effects import compute_effects, count_leads
from lycoris.analysis.statistics.expectations import Expectation, concept_differences
from lycoris.analysis.statistics.group_means import mean_over_groups
from lycoris.analysis.statistics.ranking import rank_table
from lycoris.analysis.text.formatting import format_interval, format_number
from tests.analysis.conftest import PAPER

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reproduction.md").read_text()
pytestmark = pytest.mark.skipif(not (PAPER / "metrics_mean.csv").is_file(), reason="there is no published table")


@pytest.fixture(scope="module")
def ranking():
    return rank_table(read_table(PAPER / "metrics_mean.csv", PAPER / "config_mapping.csv"))


@pytest.fixture(scope="module")
def whole(ranking):
    return compute_effects(ranking)


@pytest.fixture(scope="module")
def categories(tmp_path_factory):
    lines = (PAPER / "metrics_mean.csv").read_text().splitlines()
    path = tmp_path_factory.mktemp("categories") / "categories.csv"
    path.write_text("\n".join(line for line in lines if not re.search("/(anime|people)/", line)) + "\n")
    return compute_effects(rank_table(read_table(path, PAPER / "config_mapping.csv")))


def printed_effect(result, level, against, measure):
    """An effect as the document prints it."""
    metric, prompt_type, encoder = [*measure.split("/"), ""][:3]
    [row] = result[
        (result["factor"] == "algorithm") & (result["level"] == level) & (result["against"] == against)
        & (result["metric"] == metric) & (result["prompt_type"] == prompt_type) & (result["encoder"] == encoder)
    ].itertuples()  # fmt: skip
    return f"{format_number(row.effect, 2, signed=True)} {format_interval(row.low, row.high, 2)}"


def test_the_table_of_finding_1_is_what_the_scores_give(whole, categories):
    rows = re.findall(r"^\| (\w+) - (\w+) \| (\S+) \| (.+) \| (.+) \|$", DOCUMENT, re.MULTILINE)
    assert len(rows) == 6
    for level, against, measure, nine, five in rows:
        assert printed_effect(whole, level, against, measure) == nine
        assert printed_effect(categories, level, against, measure) == five


def test_lokr_beats_loha_with_every_encoder_and_lora_with_none(whole):
    own = whole[
        (whole["level"] == "lokr") & (whole["metric"] == "image_similarity") & (whole["prompt_type"] == "alter")
    ]
    over_loha, over_lora = (own[(own["against"] == name) & (own["encoder"] != "all")] for name in ("loha", "lora"))
    assert len(over_loha) == len(over_lora) == 9
    assert (over_loha["low"] > 0).all()
    assert (over_lora["low"] < 0).all()
    assert (over_lora["effect"] < 0).all()


def test_worse_elsewhere_is_shown_once(whole):
    single = whole[(whole["factor"] == "algorithm") & (whole["level"] == "lokr") & (whole["encoder"] != "all")]
    worse = single[single["high"] < 0]
    assert worse[["against", "metric", "prompt_type"]].to_numpy().tolist() == [["loha", "text_similarity", "alter"]]


def test_no_algorithm_leads_on_every_measure(whole):
    result = count_leads(whole)
    output = re.search(r"Of 63 measures LoKr leads (\d+), LoRA (\d+) and LoHa (\d+)", DOCUMENT)
    assert result.loc[["lokr", "lora", "loha"], "led"].tolist() == [int(count) for count in output.groups()]
    assert set(result["measures"]) == {63}
    assert result["shown"].to_dict() == {"loha": 1, "lokr": 0, "lora": 0}


def test_agreement_is_as_the_document_states(ranking):
    whole = agreement_by_attribute(measure_pairs(correlate(ranking)))
    result = whole["correlation"]
    output = [format_number(result[name], 2) for name in ("resize_mode", "encoder", "prompt_type")]
    lowest = format_number(whole.loc["resize_mode", "lowest"], 3)
    assert f"Resize modes rank alike (mean correlation {output[0]}, lowest {lowest})" in DOCUMENT
    assert f"encoders mostly do ({output[1]}), prompt types less ({output[2]})" in DOCUMENT


def test_other_effects_are_as_the_document_states(ranking, whole):
    def effect(factor, level, against, metric, *, sign=1, signed=False):
        [row] = whole[
            (whole["factor"] == factor) & (whole["level"].astype(str) == level)
            & (whole["against"].astype(str) == against) & (whole["metric"] == metric)
            & (whole["prompt_type"] == "all")
        ].itertuples()  # fmt: skip
        return printed(row.effect, row.low, row.high, sign, signed=signed)

    def earlier(factor, level, against, *, sign=1):
        """By the definition of controllability that counted the text similarity of the trigger."""
        one = Expectation("controllability", "lower", factor, level, against)
        mean = mean_over_groups(concept_differences(ranking, one, ("text_similarity/trigger",)), minimum=-1.0)
        return printed(mean.mean, mean.low, mean.high, sign)

    def printed(value, low, high, sign, *, signed=False):
        low, high = sorted((sign * low, sign * high))
        return f"{format_number(sign * value, 2, signed=signed)} {format_interval(low, high, 2)}"

    text = " ".join(DOCUMENT.split())
    rates = ("learning_rate", "0.005", "0.0005")
    assert (
        f"LoHa and LoKr lose {effect(*rates, 'fidelity', sign=-1)} of fidelity and "
        f"{effect(*rates, 'controllability', sign=-1)} of controllability ({earlier(*rates, sign=-1)} by the earlier "
        f"definition), and gain {effect(*rates, 'diversity')} of diversity."
    ) in text
    loha = ("capacity", "dim 16, alpha 8", "dim 4, alpha 2")
    lora = ("capacity", "dim 32, alpha 16", "dim 8, alpha 4")
    assert (
        f"LoHa 16/8 instead of 4/2 {effect(*loha, 'controllability')} (earlier definition {earlier(*loha)}), "
        f"LoRA 32/16 instead of 8/4 {effect(*lora, 'controllability')} ({earlier(*lora)})."
    ) in text
