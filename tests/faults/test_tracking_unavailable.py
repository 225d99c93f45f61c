"""A run retries while its MLflow server is unavailable, and loses nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from lycoris.errors import InputError
from tasks.data_versions.manifest import DataVersion
from tasks.runtime import retry
from tasks.tracking.client import TrackingServer, tracking_server
from tasks.tracking.runs import StudyRun, close_study, find_finished_run
from tests.e2e.tiny import ENVIRONMENT
from tests.faults.claims import adapter_digests, check_data, check_tracking, check_whole
from tests.faults.killing import copy, new_moment, start

DOWNTIME_S = 60.0


def serve(folder: Path, port: int) -> subprocess.Popen:
    """A tracking server whose database lies where a run without one would have it; it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log", "ab") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--serve-artifacts"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            env={**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError((folder / "log").read_text()[-2000:])


def stop(server):
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["run", "model"])
def test_a_run_waits_for_a_tracking_server_that_is_unavailable_for_a_minute(furnished, undisturbed, moment):
    folder, port = copy(furnished, furnished.with_name(f"away-{moment}")), free_port()
    url = f"http://127.0.0.1:{port}"
    server = serve(folder / "runs" / "mlflow", port)
    try:
        process = start(folder, MLFLOW_TRACKING_URI=url)
        known: set[str] = set()
        while not any(text.startswith(moment) for text in known):
            new = new_moment(folder, process, known)
            assert new, (folder / "err").read_text()[-3000:]
            known |= new
        stop(server)
        time.sleep(DOWNTIME_S)
        server = serve(folder / "runs" / "mlflow", port)
        assert process.wait(timeout=1500) == 0, (folder / "err").read_text()[-3000:]
        lines = (folder / "err").read_text()
        assert f"{url} does not answer" in lines
        assert "answers again" in lines
        result = json.loads((folder / "out").read_text().splitlines()[-1])
        check_whole(folder)
        check_data(folder, result)
        assert adapter_digests(folder) == undisturbed[1]
        check_tracking(folder, result, url)
    finally:
        stop(server)


def test_a_server_that_never_answers_is_an_error_with_its_address(monkeypatch, caplog):
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_S", 0.5)
    monkeypatch.setattr(retry, "RETRY_INTERVAL_S", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=f"{url} does not answer.*saved"):
        find_finished_run(TrackingServer(url, None), "study", "key")
    assert sum("retrying" in message for message in caplog.messages) == 1


def test_another_error_is_not_retried(tmp_path, monkeypatch, caplog):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    version = DataVersion("0" * 32 + ".dir", tmp_path, 0, 0, "outside")
    study = StudyRun(tracking_server(tmp_path), "study", "no such run", version)
    with pytest.raises(Exception, match="no such run") as raised:
        close_study(study, [tmp_path / "nothing"], "a description")
    assert not isinstance(raised.value, InputError)
    assert "retrying" not in caplog.text
