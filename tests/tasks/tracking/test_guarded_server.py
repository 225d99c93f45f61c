"""MLflow's server behind the guard."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.e2e.tiny import ENVIRONMENT, ROOT


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **ENVIRONMENT,
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "LYCORIS_ALLOWED_HOSTS": "head",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.tracking.guarded_server", "--port", str(port), "--workers", "1"],
            cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 300
    while status(f"{address}/health") != 200:
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield address
    os.killpg(process.pid, 15)
    process.wait(timeout=60)


def status(address, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_clients_pages_of_the_server_and_allowed_names_are_answered(server):
    experiments = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    assert status(experiments) == 200
    assert status(experiments, Origin=server) == 200
    assert status(experiments, Host="head:5050") == 200
    assert status(f"{server}/") == 200


def test_pages_of_other_ports_and_names_that_look_like_addresses_are_refused(server):
    """MLflow itself answers all of these."""
    experiments = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    assert status(experiments, Origin="http://localhost:3000") == 403
    assert status(experiments, Host="10.attacker.test") == 403
    assert status(experiments, Host="192.168.attacker.test:5050") == 403
    assert status(f"{server}/health", Host="attacker.test") == 403
