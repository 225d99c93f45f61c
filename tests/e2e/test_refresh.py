"""A server notices new data, trains on it and promotes the better adapter.

Runs a Prefect server, a worker, a schedule and an MLflow server, all on loopback.
"""

import json
import shutil
import signal
import socket
import time

import pytest
import yaml

from flows.runtime.api_password import PASSWORD_FILE
from lycoris import pocket
from tasks.tracking.client import tracking_server
from tasks.tracking.promotion import promote_to_champion
from tests.e2e import project
from tests.e2e.servers import ask, free_ports, start_server, until
from tests.e2e.tiny import TINY, copy_concept, json_result, run_lycoris, write_experiment


@pytest.fixture
def study(tmp_path):
    """A project whose images of a bear show an octopus, and a schedule that runs every minute."""
    copy_concept(tmp_path / "data", "grumble")
    bear = tmp_path / "data" / "movie_characters" / "grumble"
    entries = yaml.safe_load((pocket.IMAGES / "concepts.yaml").read_text())["concepts"]
    shutil.rmtree(bear)
    shutil.copytree(pocket.IMAGES / entries["inky"]["category"] / "inky", bear)
    project.init_project(tmp_path)
    project.commit_data(tmp_path, "wrong")
    values = {
        **TINY,
        "data": str(tmp_path / "data"),
        "output": str(tmp_path / "runs"),
        "algorithms": ["full"],
        "captions": ["none"],
        "steps": 60,
        "images": {"train": 4, "trigger": 8, "alter": 4, "style": 2},
        "sampling": {"steps": 8},
    }
    parameters = {"experiment": values, "promotion": {"tolerances": dict.fromkeys(TOLERATED, 1e9)}}
    deployment = {
        "name": "tiny",
        "entrypoint": "flows.refresh:refresh",
        "parameters": parameters,
        "schedules": [{"interval": 60}],
        "work_pool": {"name": "local"},
        "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
        "triggers": [
            {
                "type": "event",
                "match": {"prefect.resource.id": "dvc.data.*"},
                "expect": ["dvc.data.changed"],
                "parameters": parameters,
            }
        ],
    }
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"name": "tiny", "deployments": [deployment]}))
    return tmp_path


TOLERATED = ("controllability", "diversity", "preservation", "quality")
"""Dimensions that may become worse: after a few training steps only the process is tested, not the quality."""


@pytest.mark.slow
def test_the_schedule_notices_new_data_trains_on_it_and_promotes(study):
    ports = free_ports()
    prefect, mlflow = f"http://127.0.0.1:{ports[0]}/api", f"http://127.0.0.1:{ports[1]}/api/2.0/mlflow"
    log = study / "log"
    options = ("--folder", study / "server", "--prefect-port", ports[0], "--mlflow-port", ports[1])
    process = start_server(log, *options, "--deployments", study / "prefect.yaml")

    def champion(number):
        found = ask(f"{mlflow}/registered-models/alias?name=grumble&alias=champion")
        return found["model_version"] if found and found["model_version"]["version"] == number else None

    def ask_prefect(path, body):
        return ask(f"{prefect}/{path}", body, (study / "server" / PASSWORD_FILE).read_text().strip())

    def decided(number):
        found = ask(f"{mlflow}/model-versions/get?name=grumble&version={number}")
        tags = found["model_version"].get("tags", []) if found else []
        return found["model_version"] if "contest" in {tag["key"] for tag in tags} else None

    def runs(name):
        body = {"flow_runs": {"deployment_id": {"is_null_": False}, "state": {"type": {"any_": [name]}}}}
        return ask_prefect("flow_runs/filter", body)

    try:
        first = until(lambda: decided("1"), process, log)
        # a person makes it champion, whether it has learned in these few steps or not
        ask(f"{mlflow}/registered-models/alias", {"name": "grumble", "alias": "champion", "version": "1"})
        shutil.rmtree(study / "data" / "movie_characters" / "grumble")
        shutil.copytree(pocket.IMAGES / "movie_characters" / "grumble", study / "data" / "movie_characters" / "grumble")
        second = until(lambda: champion("2"), process, log)
        done = until(lambda: runs("COMPLETED") if len(runs("COMPLETED") or []) >= 2 else None, process, log)
        assert all(run["auto_scheduled"] for run in done)
        logs = ask_prefect("logs/filter", {"limit": 200, "sort": "TIMESTAMP_ASC"})
        messages = {log["task_run_id"] is None: log["message"] for log in logs if log["name"].startswith("lycoris.")}
        assert set(messages) == {True, False}  # of the flow, and of tasks in processes of their own
        tags = {tag["key"]: tag["value"] for tag in second["tags"]}
        before = {tag["key"]: tag["value"] for tag in first["tags"]}
        assert tags["data.version"] != before["data.version"]
        contest = json.loads(tags["contest"])
        assert (contest["state"], contest["champion"]) == ("promoted", "1")
        assert contest["dimensions"]["fidelity"] == "better"
        assert tags["champion.before"] == "1"
        experiment = ask(f"{mlflow}/experiments/get-by-name?experiment_name=tiny")["experiment"]["experiment_id"]
        asked = {"experiment_ids": [experiment], "filter": "tags.`pipeline.kind` = 'refresh'"}
        refreshes = until(
            lambda: (
                found
                if len(found := ask(f"{mlflow}/runs/search", asked)["runs"]) == 2
                and {run["info"]["status"] for run in found} == {"FINISHED"}
                else None
            ),
            process,
            log,
        )
        assert len(refreshes) == 2
        event = {
            "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": "dvc.data.changed",
            "resource": {"prefect.resource.id": "dvc.data.main"},
            "id": "00000000-0000-4000-8000-000000000001",
        }
        ask_prefect("events", [event])
        until(
            lambda: next((run for run in ask_prefect("flow_runs/filter", {}) if not run["auto_scheduled"]), None),
            process,
            log,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.slow
def test_a_challenger_that_is_not_better_is_recorded_and_nothing_runs_twice(tmp_path):
    copy_concept(tmp_path / "data", "grumble")
    project.init_project(tmp_path)
    versions = [project.commit_data(tmp_path, "v1")]
    (tmp_path / "data" / "movie_characters" / "grumble" / "00.png").unlink()
    versions.append(project.commit_data(tmp_path, "v2"))
    asked = ("refresh", write_experiment(tmp_path, algorithms=["lora"], captions=["none"]), "--json")
    first, again = (json_result(run_lycoris(*asked, "--data-rev", "v1")) for _ in range(2))
    assert (first["state"], first["concepts"][0]["state"]) == ("refreshed", "left")
    assert first["concepts"][0]["reason"].startswith("no adapter of its study beats the base in fidelity")
    assert (again["state"], again["concepts"]) == ("unchanged", [])
    assert promote_to_champion(tracking_server(tmp_path / "runs"), "grumble", "1", "by hand")
    second = json_result(run_lycoris(*asked))
    assert [first["data_version"], second["data_version"]] == versions
    (met,) = second["concepts"]
    assert (met["state"], met["champion"], met["challenger"]) == ("left", "1", "2")
    assert {score["name"].split("/")[1] for score in met["scores"]} == {"train", "trigger", "alter", "style"}
    assert set(met["dimensions"]) == {"fidelity", "controllability", "diversity", "preservation", "quality"}
    runs = str(tmp_path / "runs")
    pulled = json_result(run_lycoris("pull", "grumble", "--output", runs, "--out", str(tmp_path / "x"), "--json"))
    assert (pulled["version"], pulled["data"]) == ("1", versions[0])
    refused = run_lycoris("data", "remove", "v1", "--data", str(tmp_path / "data"), "--output", runs)
    assert refused.returncode == 2
    assert "grumble@champion (version 1)" in refused.stderr
    assert "no champion before" in run_lycoris("rollback", "grumble", "--output", runs).stderr
