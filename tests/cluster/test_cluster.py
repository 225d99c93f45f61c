"""Many machines: a study gives the same bits, and losing a worker or a database loses nothing.

The services of deploy/compose.yaml are processes here; the workers share the S3 store with the command, and no folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from lycoris.cache.remote import RemoteStore
from tests.cluster.machines import TIMEOUT_S, Machines, need, result, scores_by_adapter
from tests.e2e.tiny import ROOT, copy_concept, write_experiment

pytestmark = pytest.mark.slow
ONE = {
    "name": "one", "algorithms": ["lora", "lokr"], "captions": ["all"], "steps": 6, "encoders": ["clip"],
    "images": {"train": 2, "trigger": 2, "alter": 2, "style": 1}, "sampling": {"steps": 3},
}  # fmt: skip
STAGES = ("adapter", "images", "features", "scores")
TIMES = ("stage.json", "training.json", "generation.json")
"""Files that record durations."""

DEPLOYED = """
import json, sys
from pathlib import Path
from flows.runtime.client_environment import configure_environment
configure_environment()
if __name__ == "__main__":
    from flows.customize import customize
    from flows.config.loading import load_experiment
    found = customize(load_experiment(Path(sys.argv[1]), (f"output={sys.argv[2]}", "runner=threads")))
    print(json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    need("prefect_dask", "s3fs", "boto3", "psycopg2", "flask_wtf", "moto", postgres=True)
    services = Machines(tmp_path_factory.mktemp("machines"))
    try:
        database = services.start_postgres("prefect", "mlflow", "users")
        services.start_s3()
        services.start_prefect(database.address("prefect"))
        services.start_mlflow(database.address("mlflow"), "s3://lycoris/mlflow", database.address("users"))
        yield services
    finally:
        services.stop()


@pytest.fixture(scope="module")
def here(machines, tmp_path_factory):
    """The study run by processes of this machine: its experiment file, output folder and result."""
    folder = tmp_path_factory.mktemp("here")
    copy_concept(folder / "data", "grumble")
    file = write_experiment(folder, **ONE)
    return file, folder / "runs", result(machines.run(file, "workers=2", MLFLOW_TRACKING_URI=""))


@pytest.fixture
def scheduler(machines):
    """A scheduler with two workers, new for each test."""
    address = machines.start_scheduler()
    for name in ("worker-one", "worker-two"):
        machines.start_worker(address, name)
    machines.wait_for_workers(address, 2)
    yield address
    for name in ("worker-one", "worker-two", "scheduler"):
        with suppress(ProcessLookupError):
            os.killpg(machines.running[name].pid, signal.SIGKILL)
        machines.running.pop(name).wait()


def training(machines, name):
    """Wait until a worker trains, and return whether it does."""
    deadline = time.monotonic() + TIMEOUT_S
    unfinished = machines.folder / name / "store" / "unfinished"
    while time.monotonic() < deadline:
        if unfinished.is_dir() and any(unfinished.iterdir()):
            return True
        time.sleep(0.05)
    return False


def shared(machines, monkeypatch, address):
    for name, value in machines.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return RemoteStore(address)


def test_a_study_on_two_workers_equals_the_local_one_bit_for_bit(machines, here, scheduler, tmp_path, monkeypatch):
    file, output, expected = here
    share = "s3://lycoris/equal"
    done = machines.run(file, f"output={tmp_path / 'runs'}", f"runner={scheduler}", f"artifact_store={share}")
    assert scores_by_adapter(result(done)) == scores_by_adapter(expected)
    assert "13/13" in done.stderr  # steps of workers without the disk are shown too
    store, compared = shared(machines, monkeypatch, share), 0
    for stage in STAGES:
        for folder in (output / "store" / stage).iterdir():
            assert store.fetch(tmp_path / "fetched", stage, folder.name), folder
            for path in folder.rglob("*"):
                if path.is_file() and path.name not in TIMES:
                    there = tmp_path / "fetched" / stage / folder.name / path.relative_to(folder)
                    assert there.read_bytes() == path.read_bytes(), path
                    compared += 1
    assert compared > 20
    for name in ("worker-one", "worker-two"):
        assert list((machines.folder / name / "store").glob("*/*/stage.json")), name


def test_mlflow_has_the_study_and_requires_a_password(machines, here, scheduler, tmp_path):
    file, _, _ = here
    found = result(
        machines.run(file, f"output={tmp_path / 'runs'}", f"runner={scheduler}", "artifact_store=s3://lycoris/equal")
    )
    asked = f"{machines.environment['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(asked, timeout=TIMEOUT_S)
    import boto3

    for one in found["adapters"]:
        assert one["run_id"]
    listed = boto3.client(
        "s3",
        endpoint_url=machines.environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=machines.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=machines.environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    ).list_objects_v2(Bucket="lycoris", Prefix="mlflow/")
    assert listed["KeyCount"] > 10


def test_threads_give_the_same_and_a_deployed_flow_uses_the_runner_of_its_experiment(machines, here, tmp_path):
    file, output, expected = here
    script = tmp_path / "deployed.py"
    script.write_text(DEPLOYED)
    done = subprocess.run(
        [sys.executable, str(script), str(file), str(tmp_path / "runs")], capture_output=True, text=True, cwd=ROOT,
        env={**machines.environment, "MLFLOW_TRACKING_URI": ""}, timeout=3 * TIMEOUT_S, check=False,
    )  # fmt: skip
    assert scores_by_adapter(result(done)) == scores_by_adapter(expected)
    for stage in STAGES:
        ours, theirs = (
            {each.name for each in (folder / "store" / stage).iterdir()} for folder in (output, tmp_path / "runs")
        )
        assert ours == theirs, stage


def test_a_killed_worker_is_logged_and_its_work_is_done_by_the_other(machines, here, scheduler, tmp_path):
    file, _, expected = here
    share = "artifact_store=s3://lycoris/killed"
    with machines.begin(file, f"output={tmp_path / 'runs'}", f"runner={scheduler}", share, "seeds=0") as run:
        assert training(machines, "worker-one")
        os.killpg(machines.running["worker-one"].pid, signal.SIGKILL)
        out, err = run.communicate(timeout=3 * TIMEOUT_S)
    assert run.returncode == 0, err[-5000:]
    assert scores_by_adapter(json.loads(out.splitlines()[-1])) == scores_by_adapter(expected)
    assert " is gone: its " in err


def test_an_unavailable_database_is_an_error_and_the_same_command_resumes(machines, here, tmp_path):
    file, _, expected = here
    asked = (file, "name=unavailable", f"output={tmp_path / 'runs'}", "workers=2")
    machines.postgres.stop()
    try:
        done = machines.run(*asked)
    finally:
        machines.postgres.start()
    assert done.returncode == 2, done.stderr[-5000:]
    assert "The Prefect server at " in done.stderr
    assert "the same command resumes" in done.stderr
    assert scores_by_adapter(result(machines.run(*asked))) == scores_by_adapter(expected)


def test_a_database_restart_during_a_run_loses_nothing(machines, here, scheduler, tmp_path):
    file, _, expected = here
    name, share = "name=restarted", "artifact_store=s3://lycoris/restarted"
    with machines.begin(file, name, f"output={tmp_path / 'runs'}", f"runner={scheduler}", share) as run:
        assert training(machines, "worker-one")
        machines.postgres.stop()
        time.sleep(15)
        machines.postgres.start()
        out, err = run.communicate(timeout=3 * TIMEOUT_S)
    assert run.returncode == 0, err[-5000:]
    found = json.loads(out.splitlines()[-1])
    assert scores_by_adapter(found) == scores_by_adapter(expected)
    assert "does not answer" in err
    again = result(machines.run(file, name, f"output={tmp_path / 'runs'}", f"runner={scheduler}", share))
    assert [one["run_id"] for one in again["adapters"]] == [one["run_id"] for one in found["adapters"]]


def test_a_shared_store_that_is_unavailable_during_a_run_is_retried(machines, here, scheduler, tmp_path):
    file, _, expected = here
    asked = (
        file,
        "name=apart",
        f"output={tmp_path / 'runs'}",
        f"runner={scheduler}",
        "artifact_store=s3://lycoris/apart",
    )
    with machines.begin(*asked) as run:
        assert training(machines, "worker-one")
        machines.s3.shut()
        time.sleep(30)
        machines.s3.unlock()
        out, err = run.communicate(timeout=3 * TIMEOUT_S)
    assert run.returncode == 0, err[-5000:]
    assert scores_by_adapter(json.loads(out.splitlines()[-1])) == scores_by_adapter(expected)
    assert "the shared store s3://lycoris/apart does not answer; retrying" in err
    assert "the shared store s3://lycoris/apart answers again" in err


def test_a_lost_scheduler_ends_the_run_with_an_error_and_the_same_command_resumes(machines, here, scheduler, tmp_path):
    file, _, expected = here
    asked = (file, "name=lost", f"output={tmp_path / 'runs'}", "artifact_store=s3://lycoris/lost")
    with machines.begin(*asked, f"runner={scheduler}") as run:
        assert training(machines, "worker-one")
        os.killpg(machines.running["scheduler"].pid, signal.SIGKILL)
        _, err = run.communicate(timeout=3 * TIMEOUT_S)
    assert run.returncode == 1, err[-5000:]
    assert "Traceback" not in err
    assert "The connection to the Dask scheduler was lost. Finished work is saved" in err
    address = machines.start_scheduler()
    for name in ("worker-three", "worker-four"):
        machines.start_worker(address, name)
    machines.wait_for_workers(address, 2)
    try:
        assert scores_by_adapter(result(machines.run(*asked, f"runner={address}"))) == scores_by_adapter(expected)
    finally:
        for name in ("worker-three", "worker-four"):
            os.killpg(machines.running.pop(name).pid, signal.SIGKILL)
