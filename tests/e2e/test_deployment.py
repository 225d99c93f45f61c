"""What people see of a deployment's run in Prefect and MLflow: its log, artifacts and state; and what a restart keeps.

Runs a Prefect server, a worker and an MLflow server, all on loopback.
"""

import signal
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.runtime.api_password import PASSWORD_FILE
from tests.e2e import project
from tests.e2e.servers import ask, free_ports, start_server, until
from tests.e2e.tiny import TINY, copy_concept

pytestmark = pytest.mark.slow

DIVERGES = {"algorithms": [{"algorithm": "lora", "learning_rate": 1e20}], "training": {"clip_norm": None}}


@dataclass
class Servers:
    """A project with one deployment, and the servers that run it."""

    folder: Path
    ports: tuple[int, int]
    process: Any = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start the servers, and wait until the deployment and the worker are there."""
        options = ("--folder", self.folder / "server", "--prefect-port", self.ports[0], "--mlflow-port", self.ports[1])
        before = self.log.read_text().count("Press Ctrl-C") if self.log.exists() else 0
        self.process = start_server(self.log, *options, "--deployments", self.folder / "prefect.yaml")
        self.until(lambda: self.log.read_text().count("Press Ctrl-C") > before or None)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)

    def until(self, poll) -> Any:
        return until(poll, self.process, self.log)

    def prefect(self, path: str, body: Any = None) -> Any:
        password = (self.folder / "server" / PASSWORD_FILE).read_text().strip()
        return ask(f"http://127.0.0.1:{self.ports[0]}/api/{path}", body, password)

    def mlflow(self, path: str, body: Any = None) -> Any:
        return ask(f"http://127.0.0.1:{self.ports[1]}/api/2.0/mlflow/{path}", body)

    def deployment(self) -> dict[str, Any]:
        return self.prefect("deployments/name/customize/tiny")

    def begin(self, **changes: Any) -> str:
        """Start a run with another experiment; return its id."""
        experiment = {**self.deployment()["parameters"]["experiment"], **changes}
        body = {"parameters": {"experiment": experiment}, "state": {"type": "SCHEDULED"}}
        return self.prefect(f"deployments/{self.deployment()['id']}/create_flow_run", body)["id"]

    def ended(self, run: str) -> dict[str, Any]:
        """Wait for the end of a run."""
        final = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        return self.until(
            lambda: found if (found := self.prefect(f"flow_runs/{run}"))["state"]["type"] in final else None
        )

    def tracked(self, name: str) -> list[dict[str, Any]]:
        """The runs of an experiment in MLflow: the study, then its adapters."""
        found = self.mlflow(f"experiments/get-by-name?experiment_name={name}")
        if found is None:
            return []
        runs = self.mlflow("runs/search", {"experiment_ids": [found["experiment"]["experiment_id"]]}).get("runs", [])
        return sorted(runs, key=lambda run: "mlflow.parentRunId" in tags(run))


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployment")
    copy_concept(folder / "data", "grumble")
    project.init_project(folder)
    project.commit_data(folder, "first")
    experiment = {**TINY, "data": str(folder / "data"), "output": str(folder / "runs"), "captions": ["none"]}
    deployment = {
        "name": "tiny",
        "entrypoint": "flows.customize:customize",
        "parameters": {"experiment": {**experiment, "algorithms": ["lora"]}},
        "schedules": [{"cron": "0 3 1 1 *", "timezone": "UTC", "active": False}],
        "work_pool": {"name": "local"},
    }
    (folder / "prefect.yaml").write_text(yaml.safe_dump({"name": "tiny", "deployments": [deployment]}))
    started = Servers(folder, free_ports())
    started.start()
    yield started
    started.stop()


def test_a_run_s_log_and_artifacts_are_in_prefect_and_it_ran_once(servers):
    run = servers.begin()
    ended = servers.ended(run)
    assert ended["state"]["type"] == "COMPLETED", servers.log.read_text()[-3000:]
    assert ended["name"].startswith("customize · tiny · ")
    of_run = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
    ours = [record for record in servers.prefect("logs/filter", of_run) if record["name"].startswith("lycoris.")]
    assert {record["task_run_id"] is None for record in ours} == {True, False}  # of the flow, and of its steps
    assert any("data" in record["message"] and "version" in record["message"] for record in ours)
    found = servers.prefect("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    artifacts = {artifact["key"]: artifact for artifact in found if artifact["key"]}
    kinds = {key: artifact["type"] for key, artifact in artifacts.items()}
    expected = {"report": "markdown", "mlflow": "markdown", "summary": "markdown", "scores": "table"}
    assert {
        f"tiny-{name}": kind for name, kind in expected.items()
    }.items() <= kinds.items()  # Prefect's links are Markdown
    assert "report.html" in artifacts["tiny-report"]["data"]
    assert "image_similarity/trigger/clip" in artifacts["tiny-scores"]["data"]
    study, *adapters = servers.tracked("tiny")
    assert study["info"]["run_id"] in artifacts["tiny-mlflow"]["data"]
    with urllib.request.urlopen(f"http://127.0.0.1:{servers.ports[1]}/", timeout=60) as page:
        assert page.status == 200
    assert [one["info"]["status"] for one in (study, *adapters)] == ["FINISHED", "FINISHED"]
    everything = servers.prefect("flow_runs/filter", {})
    assert [one["id"] for one in everything] == [run]


def test_a_study_that_failed_is_failed_in_both(servers):
    ended = servers.ended(servers.begin(name="bad", **DIVERGES))
    assert ended["state"]["type"] == "FAILED"
    assert "1 of 1 adapters failed: grumble · lora learning_rate=1e+20" in ended["state"]["message"]
    study, adapter = servers.tracked("bad")
    assert [one["info"]["status"] for one in (study, adapter)] == ["FAILED", "FAILED"]
    assert "mlflow.note.content" in tags(adapter)


def test_a_run_that_was_cancelled_in_prefect_is_killed_in_mlflow(servers):
    run = servers.begin(name="endless", steps=100_000)
    servers.until(lambda: servers.tracked("endless") or None)
    servers.prefect(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert servers.ended(run)["state"]["type"] == "CANCELLED"
    servers.until(lambda: None if "RUNNING" in {one["info"]["status"] for one in servers.tracked("endless")} else True)
    study = servers.tracked("endless")[0]
    assert study["info"]["status"] == "KILLED"


def test_a_restart_keeps_switches_and_starts_nothing_again(servers):
    deployment = servers.deployment()
    (schedule,) = deployment["schedules"]
    password = (servers.folder / "server" / PASSWORD_FILE).read_text().strip()
    path = f"http://127.0.0.1:{servers.ports[0]}/api/deployments/{deployment['id']}/schedules/{schedule['id']}"
    ask(path, {"active": True}, password, method="PATCH")
    before = {run["id"] for run in servers.prefect("flow_runs/filter", {}) if not run["auto_scheduled"]}
    servers.stop()
    servers.start()
    again = servers.deployment()
    assert again["id"] == deployment["id"]
    assert [one["active"] for one in again["schedules"]] == [True]
    assert {run["id"] for run in servers.prefect("flow_runs/filter", {}) if not run["auto_scheduled"]} == before
