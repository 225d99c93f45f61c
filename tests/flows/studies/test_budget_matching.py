"""Equal budgets: ranks and factors of equal size, lengths of equal time, and what has nothing to choose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.config.experiment import Experiment
from flows.studies.budget_matching import BudgetMatch, match_parameters, match_time, parse_budget
from lycoris.bases.parameter_count import count_parameters, meta_parts
from lycoris.errors import InputError


def counted(settings: Mapping[str, Any]) -> int:
    """A model of two layers: LoRA of rank r has 100 r numbers up to rank 50, LoKr 6400 / factor², native 9000."""
    if settings["algorithm"] == "lokr":
        return round(6400 / settings["factor"] ** 2)
    if settings["algorithm"] == "full":
        return 9000
    if not 1 <= settings["rank"] <= 50:
        raise InputError("Argument `rank` must be in [1, 50].")
    return {"lora": 100, "loha": 200}[settings["algorithm"]] * settings["rank"]


def test_every_adapter_comes_nearest_to_the_size_of_the_first() -> None:
    experiment = Experiment.model_validate({"algorithms": ["lora", "loha", "lokr", "full"]})
    fitted, lines = match_parameters(experiment, None, counted)
    assert [adapter.label for adapter in fitted.algorithms] == ["lora", "loha", "lokr factor=3", "full"]
    assert len(lines) == 5
    assert "800 numbers" in lines[0]
    assert "left unchanged" in lines[-1]
    assert fitted.adapter_settings(fitted.algorithms[1])["rank"] == 4


def test_a_named_adapter_sets_the_size_and_alpha_follows_the_rank() -> None:
    experiment = Experiment.model_validate(
        {"algorithms": [{"algorithm": "lora", "rank": 8, "alpha": 2}, "loha", "lokr"]}
    )
    fitted, _ = match_parameters(experiment, "loha", lambda settings: counted(settings) * 2)
    assert [adapter.label for adapter in fitted.algorithms][:2] == ["lora rank=8 alpha=2.0", "loha"]
    larger = Experiment.model_validate({"algorithms": [{"algorithm": "lora", "rank": 4, "alpha": 2}, "loha"]})
    fitted, _ = match_parameters(larger, "loha", counted)
    assert (fitted.algorithms[0].rank, fitted.algorithms[0].alpha) == (8, 4.0)


def test_a_size_out_of_reach_is_come_near_to() -> None:
    experiment = Experiment.model_validate({"algorithms": ["full", "lora"]})
    fitted, _ = match_parameters(experiment, None, counted)
    assert fitted.algorithms[1].rank == 50


def test_real_adapters_of_the_embedded_base_come_close() -> None:
    parts = meta_parts("pocket")
    experiment = Experiment.model_validate({"algorithms": ["lora", "glora"]})
    fitted, _ = match_parameters(experiment, None, lambda settings: count_parameters(parts, settings))
    sizes = [count_parameters(parts, fitted.adapter_settings(adapter)) for adapter in fitted.algorithms]
    assert 0.9 < sizes[1] / sizes[0] < 1.1


def test_equal_time_is_kept_so_that_a_study_taken_up_again_is_the_same(tmp_path: Path) -> None:
    experiment = Experiment.model_validate({"algorithms": ["lora", "lokr", {"algorithm": "full", "steps": 30}]})
    seconds = {"lora": 0.1, "lokr": 0.2, "full steps=30": 0.05}
    file = tmp_path / "study" / "budget.json"
    fitted, lines = match_time(experiment, None, lambda: seconds, file)
    assert [fitted.adapter_settings(adapter)["training"]["steps"] for adapter in fitted.algorithms] == [120, 60, 240]
    assert json.loads(file.read_text())["step_seconds"] == seconds
    again, _ = match_time(experiment, None, lambda: pytest.fail("measured anew"), file)
    assert again == fitted
    assert "120 steps of `lora`" in lines[0]


def test_epochs_become_fewer_too_and_units_are_not_mixed(tmp_path: Path) -> None:
    values = {"algorithms": ["lora", "lokr"], "training": {"epochs": 40}}
    fitted, _ = match_time(
        Experiment.model_validate(values), "lokr", lambda: {"lora": 0.1, "lokr": 0.4}, tmp_path / "b.json"
    )
    assert [fitted.adapter_settings(adapter)["training"]["epochs"] for adapter in fitted.algorithms] == [160, 40]
    mixed = Experiment.model_validate({"algorithms": ["lora", {"algorithm": "lokr", "training": {"epochs": 3}}]})
    with pytest.raises(InputError, match="one unit"):
        match_time(mixed, None, lambda: {"lora": 0.1, "lokr training": 1, mixed.algorithms[1].label: 1}, tmp_path / "c")


def test_the_word_in_a_study_s_file() -> None:
    assert parse_budget(None) is None
    assert parse_budget("time") == BudgetMatch(kind="time")
    assert parse_budget({"parameters": "lokr"}) == BudgetMatch(kind="parameters", reference="lokr")
    with pytest.raises(InputError, match="Did you mean `parameters`"):
        parse_budget("parameter")
    with pytest.raises(InputError, match="lokr"):
        match_parameters(Experiment.model_validate({"algorithms": ["lora"]}), "lokr", counted)
