"""Logging that was killed is resumed and leaves what undisturbed logging leaves."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from tasks.data_versions.manifest import DataVersion
from tasks.tracking import orphans
from tasks.tracking.adapter_record import LINEAGE_TAG
from tasks.tracking.client import connect, tracking_server
from tasks.tracking.runs import open_study
from tests.e2e.tiny import ENVIRONMENT, ROOT
from tests.tasks.tracking.test_registry import DATA, logged

CONCEPT = "o'bear@5%#"
SCRIPT = """
import os, signal, sys
from pathlib import Path
import mlflow, mlflow.pyfunc
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tests.tasks.tracking.test_registry import logged

call = sys.argv[2]
stores = {"create_run": SqlAlchemyStore, "create_logged_model": SqlAlchemyStore, "create_model_version": Registry}
owner = stores.get(call, mlflow.MlflowClient)
real = getattr(owner, call)

def last(self, *arguments, **options):
    if call.startswith("create"):
        real(self, *arguments, **options)  # it was done, and nobody came to know
    os.kill(os.getpid(), signal.SIGKILL)

study = SqlAlchemyStore.create_run
def after_the_study(self, *arguments, **options):
    found = study(self, *arguments, **options)
    setattr(owner, call, last)
    return found

SqlAlchemyStore.create_run = after_the_study
logged(Path(sys.argv[1]), 1)
"""
CALLS = (
    *("create_run", "log_batch", "log_table", "log_artifact", "create_logged_model", "finalize_logged_model"),
    *("create_model_version", "set_model_version_tag"),
)


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A folder of runs with an empty database."""
    folder = tmp_path_factory.mktemp("empty") / "runs"
    tracking_server(folder)
    return folder


def found(root):
    """All that was logged, without names that chance makes."""
    server = tracking_server(root)
    client = connect(server)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments)
    own = (orphans.PROCESS_TAG, "mlflow.", "data.path")
    described = []
    for run in runs:
        entries = client.list_artifacts(run.info.run_id)
        described.append(
            {
                "status": run.info.status,
                "tags": {name: text for name, text in run.data.tags.items() if not name.startswith(own)},
                "params": run.data.params,
                "loss": [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")],
                "artifacts": sorted(entry.path for entry in entries),
                "tables": {
                    entry.path: client.load_table(run.info.experiment_id, entry.path, [run.info.run_id]).shape
                    for entry in entries
                    if entry.path.endswith(".json")
                },
                "inputs": len(run.inputs.dataset_inputs),
            }
        )
    versions = client.search_model_versions("")
    return {
        "runs": sorted(described, key=lambda run: run["tags"]["pipeline.key"]),
        "models": [model.status for model in client.search_logged_models(experiments)],
        "versions": [{**each.tags, LINEAGE_TAG: without_run(each.tags.get(LINEAGE_TAG, "{}"))} for each in versions],
        "aliases": [each.aliases for each in client.search_registered_models()],
    }


def without_run(lineage):
    return {name: value for name, value in json.loads(lineage).items() if name != "run"}


@pytest.fixture(scope="module")
def undisturbed(empty, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        shutil.copytree(empty, root)
        logged(root, 1)
        return found(root)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_killed_logging_is_resumed_and_leaves_no_duplicates(call, empty, undisturbed, tmp_path):
    root = shutil.copytree(empty, tmp_path / "runs")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), call], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert "RUNNING" in {run["status"] for run in found(root)["runs"]}
    logged(root, 1)
    assert found(root) == undisturbed


def test_runs_of_a_killed_process_are_closed_by_the_next_start_of_the_study(tmp_path):
    server, version = tracking_server(tmp_path), DataVersion(DATA[1], tmp_path, 1, 1, "unchanged")
    client = connect(server)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, alive = (open_study(server, "study", f"key {number}", {"rank": 4}, version).run_id for number in (1, 2))
    mine = orphans.process_tag()
    client.set_tag(left, orphans.PROCESS_TAG, mine.replace(mine.split("-")[1], str(gone.pid), 1))
    open_study(server, "study", "key 3", {"rank": 4}, version)
    assert client.get_run(left).info.status == "KILLED"
    assert client.get_run(alive).info.status == "RUNNING"
    assert open_study(server, "study", "key 1", {"rank": 4}, version).run_id == left
    assert client.get_run(left).info.status == "RUNNING"
    assert client.get_run(left).data.params == {"rank": "4"}
