"""`lycoris study NAME --budget N`: the experiments of a search, and one real search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.main import main
from flows.config.loading import parse_experiment
from flows.studies.adaptive_search import SearchState, search_budget
from flows.studies.definition import load_study
from flows.studies.recommend import recommend_study
from lycoris import pocket
from lycoris.analysis.decisions.adaptive_search import Trial
from lycoris.errors import InputError
from tests.e2e.tiny import TINY, json_result, run_lycoris, step_lines

GRID: dict[str, Any] = {
    "name": "grid",
    "algorithms": ["lora", {"algorithm": "lora", "rank": 2}, {"algorithm": "lokr", "learning_rate": 1e-3}],
    "captions": ["none", "all"],
    "seeds": [0, 1],
    "steps": 60,
    "checkpoints": [20, 40],
}


def state(folder: Path = Path("nowhere"), **changes: Any) -> SearchState:
    return SearchState(parse_experiment({**GRID, **changes}), ("grumble", "castle"), folder)


def test_a_grid_has_every_setting_with_its_attributes() -> None:
    grid = state().grid(0)
    assert grid.training_count == 3 * 2 * 2 * 2
    row = grid.settings.set_index("config").loc["lora rank=2 · all"]
    assert (row["algorithm"], row["captions"], row["dim"], row["epoch"]) == ("lora", "all", 2, 60)
    assert row["capacity_level"] < grid.settings.set_index("config").loc["lora · all"]["capacity_level"]
    assert {seed for _, seed in grid.units[:2]} == {"0"}


def test_exactly_the_requested_trials_are_run() -> None:
    unit = ("castle", "1")
    trials = [Trial("lora · none", unit), Trial("lora rank=2 · none", unit), Trial("lora · all", unit)]
    parts = state().experiments_for(trials)
    done = [
        (part.concepts, adapter.label, part.captions, part.seeds) for part in parts for adapter in part.algorithms
    ]  # fmt: skip
    assert sorted(done) == sorted(
        ((unit[0],), *one.config.rsplit(" · ", 1)[:1], (one.config.rsplit(" · ", 1)[1],), (1,)) for one in trials
    )
    assert len(parts) == 2
    assert all(part.checkpoints == (20, 40) for part in parts)


def test_dropped_checkpoints_are_not_evaluated() -> None:
    trials = [Trial("lora · none", ("castle", "0"), frozenset({2})), Trial("lora rank=2 · none", ("castle", "0"))]
    assert [part.checkpoints for part in state().experiments_for(trials)] == [(40,), (20, 40)]


def test_lengths_in_epochs_and_in_steps_are_not_mixed() -> None:
    mixed = [{"algorithm": "lora", "training": {"epochs": 3}}, {"algorithm": "lora", "steps": 10}]
    with pytest.raises(InputError, match="all in epochs or all in steps"):
        state(algorithms=mixed, steps=None, checkpoints=[])


def test_the_default_budget_is_a_third_of_the_grid() -> None:
    grid = state().grid(0)
    assert [search_budget(grid, one) for one in (None, 5, 1000)] == [8, 5, 24]
    with pytest.raises(InputError, match="at least 1"):
        search_budget(grid, 0)


def test_a_plan_states_the_budget_without_starting_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--plan", "--set", f"output={tmp_path / 'runs'}", "--set", "concepts=grumble,castle"]
    assert main(["study", "adaptive", *options]) == 0
    output = capsys.readouterr().out
    assert "At most 16 of 48 trainings: 24 settings x 2 concepts x 1 seed" in output
    assert main(["study", "captions", "--budget", "20", *options]) == 0
    assert "At most 20 of 96 trainings: 16 settings x 2 concepts x 3 seeds" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    assert main(["study", "adaptive", "--sampler", "tree", *options]) == 2
    assert load_study("adaptive").experiment.captions == ("none", "all")


@pytest.mark.slow
def test_a_search_stays_within_its_budget_and_resumes(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    experiment = {**TINY, "name": "small", "concepts": ["grumble", "biscuit"], "data": str(pocket.IMAGES),
                  "captions": ["none"], "output": str(tmp_path / "runs")}  # fmt: skip
    file.write_text(yaml.safe_dump({"question": "What suits?", "factor": "algorithm", "experiment": experiment}))
    result = json_result(run_lycoris("study", str(file), "--budget", "3", "--json"))
    assert (result["trainings"], result["grid"], result["failed"]) == (3, 4, [])
    folder = tmp_path / "runs" / "small"
    assert {one["setting"] for one in result["asked"]} == {"lora · none", "full · none"}
    assert result["choice"]["config"] == recommend_study(folder)["choice"]["config"]
    adapters = json.loads((folder / "study.json").read_text())["adapters"]
    assert len(adapters) == 3
    assert (folder / "recommendation.svg").is_file()
    assert json.loads((folder / "adaptive.json").read_text())["asked"] == result["asked"]
    again = run_lycoris("study", str(file), "--budget", "3", "--json")
    assert json_result(again)["asked"] == result["asked"]
    assert all("cached" in line for line in step_lines(again) if " adapter " in line)
