"""Training times of a flow as a factor: compared where all else agrees, and apart in every other comparison."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.effects import comparisons
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.analysis.text.effect_text import level_label
from lycoris.analysis.text.setting_labels import label_settings
from tasks.trainings import times_label


@pytest.mark.parametrize(
    ("training", "label"),
    [
        ({"steps": 120, "timestep_density": None, "timestep_density_options": {}}, ""),
        ({"timestep_density": "uniform"}, "uniform"),
        ({"timestep_density": "logit-normal", "timestep_density_options": {"mean": -0.5}}, "logit-normal mean=-0.5"),
        (
            {"timestep_density": "uniform", "timestep_shift": 3.0, "loss_weighting": "cosmap"},
            "uniform, shift 3, cosmap",
        ),
        ({"timestep_shift": 0.5}, "shift 0.5"),
    ],
)
def test_the_label_names_what_a_training_changes(training: dict, label: str) -> None:
    assert times_label(training) == label


def ranking(tmp_path: Path, settings: list[tuple[str, str | None, float]]) -> Ranking:
    rows = [
        {"concept": "a", "config": f"{place}", "algorithm": algorithm, "times": times, "learning_rate": rate,
         "captions": "all", "seed": 0, "name": "vendi/alter/clip", "value": place}
        for place, (algorithm, times, rate) in enumerate(settings)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    return rank_table(read_table(tmp_path / "scores.csv"))


def test_times_are_compared_where_all_else_agrees(tmp_path: Path) -> None:
    result = ranking(
        tmp_path,
        [("lora", None, 1e-3), ("lora", "uniform", 1e-3), ("lora", "uniform", 2e-3), ("loha", "shift 3", 1e-3)],
    )
    [times] = comparisons(result.settings, ("times",))
    assert (times.level, times.against, times.pairs) == ("uniform", "default", [(1, 0)])
    assert level_label("times", times.level) == "`uniform`"
    assert label_settings(result.settings, "steps")[:2] == [
        "LoRA, learning rate 0.001", "LoRA, learning rate 0.001, times uniform",
    ]  # fmt: skip


def test_adapters_of_other_times_are_no_pair_of_another_factor(tmp_path: Path) -> None:
    result = ranking(tmp_path, [("lora", None, 1e-3), ("lora", "uniform", 2e-3), ("lora", "uniform", 1e-3)])
    [rates] = comparisons(result.settings, ("learning_rate",))
    assert rates.pairs == [(1, 2)]
