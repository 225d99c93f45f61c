"""`lycoris run` on a tiny experiment, from outside."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import ImageChops

from tests.e2e.tiny import (
    ENVIRONMENT,
    ROOT,
    command,
    copy_concept,
    is_step_line,
    json_result,
    run_lycoris,
    step_lines,
    write_experiment,
)

COUNTED = """
import sys
from flows.cli.main import main
from prefect.task_runners import ProcessPoolTaskRunner
handed, submit = [], ProcessPoolTaskRunner.submit
ProcessPoolTaskRunner.submit = lambda *a, **k: handed.append(1) or submit(*a, **k)
status = main(sys.argv[1:])
print("handed to a process:", len(handed), "steps", file=sys.stderr)
sys.exit(status)
"""


def task_runs(database):
    """Count the completed steps of each flow run in Prefect's database by the name of their task, the oldest first."""
    with closing(sqlite3.connect(database)) as opened:
        flows = opened.execute("SELECT id FROM flow_run ORDER BY start_time").fetchall()
        query = (
            "SELECT substr(task_key, 1, instr(task_key, '-') - 1), count(*) FROM task_run "
            "WHERE flow_run_id = ? AND state_type = 'COMPLETED' GROUP BY 1"
        )
        return [dict(opened.execute(query, flow).fetchall()) for flow in flows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one shipped concept as data."""
    folder = tmp_path_factory.mktemp("study")
    copy_concept(folder / "data", "grumble")
    return folder


@pytest.fixture(scope="module")
def study(folder):
    """The tiny experiment."""
    return write_experiment(folder)


@pytest.fixture(scope="module")
def first(study):
    return run_lycoris("run", study, "--json")


@pytest.fixture(scope="module")
def result(first):
    return json_result(first)


@pytest.fixture(scope="module")
def client(folder, result):
    import mlflow

    address = f"sqlite:///{folder / 'runs' / 'mlflow' / 'mlflow.db'}"
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)  # which another test may have set in this process
    return mlflow.MlflowClient()


def test_every_run_of_the_grid_is_in_the_result(result):
    cells = {(a["concept"], a["algorithm"], a["captions"], a["seed"]) for a in result["adapters"]}
    assert cells == {("grumble", x, c, 0) for x in ("lora", "full") for c in ("none", "all")}
    assert not any(adapter["cached"] for adapter in result["adapters"])


def test_scores_are_paired_with_those_of_the_base_in_five_dimensions(result):
    from lycoris.metrics import METRICS

    for adapter in result["adapters"]:
        assert adapter["scores"].keys() == adapter["base_scores"].keys()
        assert {METRICS[name.split("/")[0]].dimension for name in adapter["scores"]} == {
            "fidelity", "controllability", "diversity", "preservation", "quality",
        }  # fmt: skip
        assert {"image_similarity/trigger/clip", "image_similarity/trigger/dinov2"} <= adapter["scores"].keys()


def test_the_adapter_file_contains_its_lineage(result):
    import lycoris as library

    for adapter in result["adapters"]:
        header = library.read_metadata(adapter["file"])
        assert header["concept"] == "grumble"
        assert header["data_version"] == result["data_version"]
        assert json.loads(header["scores"])["image_similarity/trigger/clip"]["value"] == pytest.approx(
            adapter["scores"]["image_similarity/trigger/clip"]
        )


def test_adapters_of_different_algorithms_or_captions_have_different_weights(result):
    from safetensors.torch import load_file

    weights = {
        (adapter["algorithm"], adapter["captions"]): load_file(adapter["file"]) for adapter in result["adapters"]
    }
    for algorithm in ("lora", "full"):
        first, second = (weights[algorithm, strategy] for strategy in ("none", "all"))
        assert first.keys() == second.keys()
        assert not all(torch.equal(first[name], second[name]) for name in first)
    assert weights["lora", "none"].keys() != weights["full", "none"].keys()


def test_the_report_holds_everything_in_one_file(result):
    page = Path(result["report"]).read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "grumble" in page
    assert page.count("data:image/") > 20


def test_each_adapter_is_a_child_run_with_curve_scores_and_files(result, client):
    for adapter in result["adapters"]:
        run = client.get_run(adapter["run_id"])
        parent = client.get_run(run.data.tags["mlflow.parentRunId"])
        assert parent.data.tags["pipeline.kind"] == "study"
        assert (run.info.status, parent.info.status) == ("FINISHED", "FINISHED")
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 2
        assert run.data.metrics["image_similarity/trigger/clip"] == pytest.approx(
            adapter["scores"]["image_similarity/trigger/clip"]
        )
        names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert {"captions.json", "scores.json", Path(adapter["file"]).name} <= names
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.digest == result["data_version"]


def test_every_adapter_is_registered_and_none_is_champion_that_learned_nothing(first, result, client):
    versions = client.search_model_versions("name = 'grumble'")
    assert {version.run_id for version in versions} == {adapter["run_id"] for adapter in result["adapters"]}
    assert client.get_model_version_by_alias("grumble", "challenger").version in {v.version for v in versions}
    assert [verdict["outcome"] for verdict in result["verdicts"]] == ["not learned"]  # in two steps
    assert set(client.get_registered_model("grumble").aliases) == {"challenger"}
    assert "does not become champion: no adapter of its study beats the base" in first.stderr


def test_the_registered_model_generates_images(client):
    import mlflow

    model = mlflow.pyfunc.load_model("models:/grumble@challenger")
    pictures = model.predict(["a ohw bear", "a red cat"], params={"steps": 2})
    assert [picture.size for picture in pictures] == [(64, 64), (64, 64)]
    again = model.predict(["a ohw bear"], params={"steps": 2})
    difference = ImageChops.difference(again[0], pictures[0])
    assert max(high for _, high in difference.getextrema()) <= 2


def test_a_second_run_is_cached_handed_to_no_process_and_logs_nothing_twice(folder, study, result, client):
    before = len(client.search_runs([e.experiment_id for e in client.search_experiments()]))
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, "run", study, "--json"],
        capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, timeout=900, check=False,
    )  # fmt: skip
    again = json_result(done)
    assert "handed to a process: 0 steps" in done.stderr
    assert all(adapter["cached"] for adapter in again["adapters"])
    assert [a["run_id"] for a in again["adapters"]] == [a["run_id"] for a in result["adapters"]]
    assert [a["scores"] for a in again["adapters"]] == [a["scores"] for a in result["adapters"]]
    assert step_lines(done)
    assert [line for line in step_lines(done) if not line.endswith("cached")] == []
    total = f"{len(step_lines(done))}/{len(step_lines(done))}"
    assert [line.split()[1] for line in step_lines(done)][-1] == total
    runs = task_runs(folder / "runs" / "prefect" / "prefect.db")
    assert runs[-1] == runs[0], "Prefect shows the steps of a cached run too"
    assert len(client.search_runs([e.experiment_id for e in client.search_experiments()])) == before


@pytest.mark.slow
def test_a_new_concept_computes_only_its_own_stages(folder, study, result):
    copy_concept(folder / "data", "inky")
    done = run_lycoris("run", study, "--json")
    grown = json_result(done)
    assert grown["data_version"] != result["data_version"]
    for adapter in grown["adapters"]:
        assert adapter["cached"] == (adapter["concept"] == "grumble")
    assert all(line.endswith("cached") for line in step_lines(done) if "grumble" in line)
    assert not any(line.endswith("cached") for line in step_lines(done) if "inky" in line)


@pytest.mark.slow
def test_ctrl_c_loses_no_finished_work(folder, study, result):
    arguments = ("run", study, "--set", "seeds=7", "--json")
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )  # fmt: skip
    for line in process.stderr:
        if is_step_line(line) and "adapter  grumble" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    process.stderr.read()
    assert process.wait(timeout=120) == 130
    time.sleep(1)
    assert not list((folder / "runs" / "store").glob("*/.*-*"))
    done = run_lycoris(*arguments)
    assert {adapter["seed"] for adapter in json_result(done)["adapters"]} == {7}
    assert any(line.endswith("cached") for line in step_lines(done) if "adapter  grumble" in line)
