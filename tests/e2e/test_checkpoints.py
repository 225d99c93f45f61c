"""Claims about a study whose trainings are watched: checkpoints are adapters of their own, from one training."""

import csv
import json
from pathlib import Path

import pytest

import lycoris as library
from tests.e2e.tiny import copy_concept, json_result, run_lycoris, step_lines, write_experiment

WAYS = {
    "algorithms": ["lora"],
    "captions": ["none"],
    "steps": 4,
    "images": {"train": 0, "trigger": 2, "alter": 2, "style": 0},
    "encoders": ["clip"],
    "validation": {"hold_out": 2, "every": 2},
    "samples": {"every": 2, "count": 2},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one shipped concept as a user's data."""
    folder = tmp_path_factory.mktemp("watched")
    copy_concept(folder / "data", "grumble")
    return folder


@pytest.fixture(scope="module")
def first(place):
    return run_lycoris("run", write_experiment(place, checkpoints=[1, 3], **WAYS), "--json")


@pytest.fixture(scope="module")
def found(first):
    return {adapter["checkpoint"]: adapter for adapter in json_result(first)["adapters"]}


def test_one_training_gives_an_adapter_for_each_checkpoint(first, found):
    assert list(found) == ["step 1", "step 3", None]
    assert [adapter["step"] for adapter in found.values()] == [1, 3, 4]
    lines = [line for line in step_lines(first) if "lora" in line]
    counts = [sum(name in line for line in lines) for name in ("adapter ", "images ", "features ", "scores ")]
    assert counts == [1, 3, 3, 3]
    files = [Path(adapter["file"]) for adapter in found.values()]
    assert [library.read_metadata(file)["step"] for file in files] == ["1", "3", "4"]
    assert len({file.read_bytes() for file in files}) == 3
    assert len({str(adapter["scores"]) for adapter in found.values()}) == 3


def test_each_is_a_run_that_says_where_it_stood_with_curves_by_step(place, found):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{place / 'runs' / 'mlflow' / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    for checkpoint, adapter in found.items():
        run = client.get_run(adapter["run_id"])
        assert run.data.tags["step"] == run.data.params["step"] == str(adapter["step"])
        assert float(run.data.tags["epoch"]) == float(run.data.params["epoch"]) == adapter["epoch"]
        assert run.data.tags.get("checkpoint") == checkpoint
        seen = client.get_metric_history(run.info.run_id, "validation")
        assert [point.step for point in seen] == [step for step in (0, 2, 4) if step <= adapter["step"]]
        quarters = [client.get_metric_history(run.info.run_id, f"loss/quarter_{n}") for n in (1, 2, 3, 4)]
        assert {point.step for points in quarters for point in points} == set(range(1, adapter["step"] + 1))
    assert client.list_artifacts(found[None]["run_id"], "images")


def test_scores_say_what_each_adapter_was_and_can_be_analysed(place, found):
    from lycoris.analysis.io.reading import read_table

    table = place / "runs" / "tiny" / "scores.csv"
    with open(table) as stream:
        rows = list(csv.DictReader(stream))
    told = {name: rows[0][name] for name in ("category", "algorithm", "preset", "rank", "alpha", "learning_rate")}
    assert told == {
        "category": "movie_characters", "algorithm": "lora", "preset": "full", "rank": "8", "alpha": "8.0",
        "learning_rate": "0.005",
    }  # fmt: skip
    assert {row["steps"] for row in rows} == {"1", "3", "4"}
    read = read_table(table)
    assert sorted(read.rows["epoch"]) == [1, 3, 4]
    assert set(read.rows["category"]) == {"movie_characters"}


def test_the_report_shows_samples_and_names_checkpoints(place, found):
    page = (place / "runs" / "tiny" / "report.html").read_text()
    assert '"checkpoint":"step 3"' in page
    assert page.count('"count":2,"pictures":[') == 1
    told = json.loads((place / "runs" / "tiny" / "study.json").read_text())["tracking"]
    assert told["run"] in page
    assert f"mlflow ui --backend-store-uri {told['address']}" in page


def test_another_list_makes_only_what_is_new(place, found):
    done = run_lycoris("run", write_experiment(place, checkpoints=[2, 3], **WAYS), "--json")
    now = {adapter["checkpoint"]: adapter for adapter in json_result(done)["adapters"]}
    assert {name: adapter["cached"] for name, adapter in now.items()} == {"step 2": False, "step 3": True, None: True}
    assert now["step 3"]["run_id"] == found["step 3"]["run_id"]
    fresh = [line for line in step_lines(done) if not line.endswith("cached")]
    assert len(fresh) == 4
    assert all("step 2" in line or " adapter " in line for line in fresh)
