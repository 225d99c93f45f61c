"""Checkpoints: adapters of their own from one training, with validation and samples during it."""

import csv
import json
from pathlib import Path

import pytest

import lycoris as library
from tests.e2e.tiny import copy_concept, json_result, run_lycoris, step_lines, write_experiment

OPTIONS = {
    "algorithms": ["lora"],
    "captions": ["none"],
    "steps": 4,
    "images": {"train": 0, "trigger": 2, "alter": 2, "style": 0},
    "encoders": ["clip"],
    "validation": {"hold_out": 2, "every": 2},
    "samples": {"every": 2, "count": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one shipped concept as data."""
    folder = tmp_path_factory.mktemp("checkpoints")
    copy_concept(folder / "data", "grumble")
    return folder


@pytest.fixture(scope="module")
def first(folder):
    return run_lycoris("run", write_experiment(folder, checkpoints=[1, 3], **OPTIONS), "--json")


@pytest.fixture(scope="module")
def adapters(first):
    return {adapter["checkpoint"]: adapter for adapter in json_result(first)["adapters"]}


def test_one_training_gives_one_adapter_for_each_checkpoint(first, adapters):
    assert list(adapters) == ["step 1", "step 3", None]
    assert [adapter["step"] for adapter in adapters.values()] == [1, 3, 4]
    lines = [line for line in step_lines(first) if "lora" in line]
    counts = [sum(name in line for line in lines) for name in ("adapter ", "images ", "features ", "scores ")]
    assert counts == [1, 3, 3, 3]
    files = [Path(adapter["file"]) for adapter in adapters.values()]
    assert [library.read_metadata(file)["step"] for file in files] == ["1", "3", "4"]
    assert len({file.read_bytes() for file in files}) == 3
    assert len({str(adapter["scores"]) for adapter in adapters.values()}) == 3


def test_each_checkpoint_is_a_run_with_its_step_and_curves(folder, adapters):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'runs' / 'mlflow' / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    for checkpoint, adapter in adapters.items():
        run = client.get_run(adapter["run_id"])
        assert run.data.params["step"] == str(adapter["step"])
        assert float(run.data.params["epoch"]) == adapter["epoch"]
        assert run.data.tags.get("checkpoint") == checkpoint
        validation = client.get_metric_history(run.info.run_id, "validation")
        assert [point.step for point in validation] == [step for step in (0, 2, 4) if step <= adapter["step"]]
        quarters = [client.get_metric_history(run.info.run_id, f"loss/quarter_{n}") for n in (1, 2, 3, 4)]
        assert {point.step for points in quarters for point in points} == set(range(1, adapter["step"] + 1))
    assert client.list_artifacts(adapters[None]["run_id"], "images")


def test_the_table_of_scores_has_all_settings_and_can_be_analysed(folder, adapters):
    from lycoris.analysis.io.reading import read_table

    table = folder / "runs" / "tiny" / "scores.csv"
    with open(table) as stream:
        rows = list(csv.DictReader(stream))
    settings = {name: rows[0][name] for name in ("category", "algorithm", "preset", "rank", "alpha", "learning_rate")}
    assert settings == {
        "category": "movie_characters", "algorithm": "lora", "preset": "full", "rank": "8", "alpha": "8.0",
        "learning_rate": "0.005",
    }  # fmt: skip
    assert {row["steps"] for row in rows} == {"1", "3", "4"}
    read = read_table(table)
    assert sorted(read.rows["epoch"]) == [1, 3, 4]
    assert set(read.rows["category"]) == {"movie_characters"}


def test_the_report_shows_samples_and_names_checkpoints(folder, adapters):
    page = (folder / "runs" / "tiny" / "report.html").read_text()
    assert '"checkpoint":"step 3"' in page
    assert page.count('"count":2,"images":[') == 1
    tracking = json.loads((folder / "runs" / "tiny" / "study.json").read_text())["tracking"]
    assert tracking["run"] in page
    assert f"mlflow ui --backend-store-uri {tracking['address']}" in page


@pytest.mark.slow
def test_another_list_of_checkpoints_computes_only_new_ones(folder, adapters):
    done = run_lycoris("run", write_experiment(folder, checkpoints=[2, 3], **OPTIONS), "--json")
    now = {adapter["checkpoint"]: adapter for adapter in json_result(done)["adapters"]}
    assert {name: adapter["cached"] for name, adapter in now.items()} == {"step 2": False, "step 3": True, None: True}
    assert now["step 3"]["run_id"] == adapters["step 3"]["run_id"]
    fresh = [line for line in step_lines(done) if not line.endswith("cached")]
    assert len(fresh) == 4
    assert all("step 2" in line or " adapter " in line for line in fresh)
