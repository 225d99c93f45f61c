"""What a factor does in each category: runs of one concept and one seed, pair by pair."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pandas as pd
import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.category_effects import (
    dimension_rows,
    effects_by_category,
    third_finding_by_category,
)
from lycoris.analysis.statistics.effects import compute_effects, shared_prompts_only
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.analysis.text.category_text import describe_category_effects
from lycoris.errors import InputError

METRICS = ("image_similarity/alter/clip", "text_similarity/alter/clip", "vendi/alter/clip", "style_loss/style/vgg")
TRAIN = "image_similarity/train/clip"
CONCEPTS = {"grumble": "characters", "bop": "characters", "castle": "scenes"}


def scores(
    tmp_path: Path,
    *,
    captions: tuple[str, ...] = ("none", "all"),
    shift: float = 1.0,
    train: bool = False,
    algorithms: tuple[str, ...] = ("lora", "lokr"),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Ranking:
    """Characters follow the paper's third finding; scenes do the opposite; diversity is noise."""
    rng = random.Random(0)
    rows = []
    for concept, category in CONCEPTS.items():
        for algorithm in algorithms:
            for strategy in captions:
                for seed in seeds:
                    up = shift * (1 if strategy == "none" else 0) * (1 if category == "characters" else -1)
                    values = (up, -up, 0.0, up)  # a style loss is better when low
                    own = {TRAIN: -up} if train else {}
                    for name, value in (dict(zip(METRICS, values, strict=True)) | own).items():
                        rows.append([category, concept, algorithm, strategy, seed, name, value + rng.gauss(0, 0.1)])
    file = tmp_path / "scores.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["category", "concept", "algorithm", "captions", "seed", "name", "value"], *rows])
    return rank_table(read_table(file))


def test_each_category_has_its_own_effects_from_pairs_of_one_concept_and_seed(tmp_path: Path) -> None:
    table = effects_by_category(scores(tmp_path), "captions")
    fidelity = dimension_rows(table).query("metric == 'fidelity'").set_index("category")
    sign = 1 if fidelity["level"].iloc[0] == "none" else -1
    assert (fidelity["pairs"].to_dict(), fidelity["concepts"].to_dict()) == (
        {"characters": 12, "scenes": 6, "all": 18}, {"characters": 2, "scenes": 1, "all": 3},
    )  # fmt: skip
    assert sign * fidelity.loc["characters", "effect"] > 0.3
    assert sign * fidelity.loc["scenes", "effect"] < -0.3
    for row in table.itertuples():
        assert (row.category == "all") == pd.isna(row.low)  # of two categories there is no interval
        assert pd.isna(row.low) or row.low <= row.effect <= row.high


@pytest.mark.parametrize(("seeds", "has_interval"), [((0, 1), False), ((0, 1, 2), True)])
def test_an_interval_needs_three_pairs(tmp_path: Path, seeds: tuple[int, ...], has_interval: bool) -> None:
    table = effects_by_category(scores(tmp_path, algorithms=("lora",), seeds=seeds), "captions")
    scenes = table[table["category"] == "scenes"]
    assert set(scenes["pairs"]) == {len(seeds)}
    assert scenes["low"].notna().all() == scenes["high"].notna().all() == has_interval


def test_the_third_finding_is_confirmed_where_every_interval_shows_it(tmp_path: Path) -> None:
    table = effects_by_category(scores(tmp_path), "captions")
    result = third_finding_by_category(table)
    assert result["characters"] == {"fidelity": True, "controllability": True, "preservation": True}
    assert result["scenes"] == {"fidelity": False, "controllability": False, "preservation": False}
    assert set(result) == {"characters", "scenes"}
    assert describe_category_effects(table)[-1].endswith("in 1 of 2 categories (characters).")
    assert "nan" not in " ".join(describe_category_effects(table))


def test_strategies_are_compared_on_the_prompts_that_they_share(tmp_path: Path) -> None:
    """Prompts of `train` are the captions, so that what they give says nothing of the adapters."""
    with_train = scores(tmp_path, train=True)
    effects = effects_by_category(with_train, "captions")
    assert set(effects["prompt_type"]) == {"alter", "style", "all"}
    assert third_finding_by_category(effects)["characters"] == {
        "fidelity": True,
        "controllability": True,
        "preservation": True,
    }
    assert "train" in set(effects_by_category(with_train, "algorithm")["prompt_type"])
    whole = compute_effects(with_train)
    assert "train" not in set(whole.query("factor == 'captions'")["prompt_type"])
    assert "train" in set(whole.query("factor == 'algorithm'")["prompt_type"])
    assert TRAIN in {one.name for one in with_train.measures}
    assert TRAIN not in {one.name for one in shared_prompts_only(with_train, "captions").measures}


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (-0.3, 0.0)])
def test_an_interval_that_touches_zero_confirms_no_finding(tmp_path: Path, low: float, high: float) -> None:
    table = effects_by_category(scores(tmp_path), "captions")
    touching = table.assign(low=[None if pd.isna(one) else low for one in table["low"]], high=high)
    assert set(third_finding_by_category(touching)["characters"].values()) == {None}


def test_without_an_effect_few_intervals_exclude_zero(tmp_path: Path) -> None:
    table = dimension_rows(effects_by_category(scores(tmp_path, shift=0.0), "captions"))
    displayed = [row for row in table[table["low"].notna()].itertuples() if row.low > 0 or row.high < 0]
    assert len(displayed) <= len(table) // 4


def test_every_pair_of_levels_is_compared_once_in_the_order_of_the_dimensions(tmp_path: Path) -> None:
    table = dimension_rows(effects_by_category(scores(tmp_path, captions=("none", "all", "adjusted")), "captions"))
    own = table[table["category"] == "scenes"]
    assert len(own) == 3 * 4
    assert list(dict.fromkeys(own["metric"])) == ["fidelity", "controllability", "diversity", "preservation"]
    assert len({frozenset(pair) for pair in zip(own["level"], own["against"], strict=True)}) == 3


def test_a_factor_that_does_not_vary_is_an_error(tmp_path: Path) -> None:
    ranking = scores(tmp_path)
    assert set(effects_by_category(ranking, "algorithm")["factor"]) == {"algorithm"}
    with pytest.raises(InputError, match="`preset` alone"):
        effects_by_category(ranking, "preset")
