"""Secrets planted wherever a user has them are in no output: neither shown nor stored."""

import base64
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import quote, quote_plus

import pytest

from tests.e2e import project
from tests.e2e.tiny import ENVIRONMENT, ROOT, TINY, command, copy_concept, write_experiment

PLANTED = {
    name: f"{name}/{secrets.token_urlsafe(12)}@+x" for name in ("tracking", "remote", "store", "base", "token", "key")
}
"""With characters that are escaped in addresses."""
SMALL = {
    **TINY, "algorithms": ["lora"], "captions": ["all"], "encoders": ["clip"], "sampling": {"steps": 1},
    "images": {"train": 1, "trigger": 1, "alter": 1, "style": 1}, "runner": "threads",
}  # fmt: skip


def forms(secret):
    """A secret as it may be written."""
    texts = {secret, quote(secret, safe=""), quote_plus(secret), quote(secret)}
    return {text.encode() for text in texts} | {base64.b64encode(secret.encode())}


def places_with_secrets(folder, shown):
    """Where a planted secret is found: in what commands printed, and in files below a folder."""
    texts = {f"output of {name}": text.encode() for name, text in shown.items()}
    for file in folder.rglob("*"):
        if file.is_file() and ".git" not in file.parts and ".dvc" not in file.parts:
            texts[str(file.relative_to(folder))] = file.read_bytes()
    assert len(texts) > 20
    found = []
    for name, secret in PLANTED.items():
        for place, text in texts.items():
            for form in forms(secret):
                if (start := text.find(form)) >= 0:
                    found.append((name, place, text[max(start - 80, 0) : start + len(form)]))
    return found


@pytest.fixture
def tracking(tmp_path):
    """The address of a tracking server, with a password in it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    environment |= {"MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "artifacts"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with open(tmp_path / "mlflow.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.tracking.guarded_server", "--port", str(port), "--workers", "1"],
            cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
            break
        except OSError:
            assert time.monotonic() < deadline, (tmp_path / "mlflow.log").read_text()
            time.sleep(0.2)
    yield f"http://ann:{quote(PLANTED['tracking'], safe='')}@127.0.0.1:{port}"
    os.killpg(process.pid, 15)
    process.wait(timeout=60)


@pytest.mark.slow
def test_planted_secrets_are_neither_shown_nor_stored(tmp_path, tracking):
    copy_concept(tmp_path / "data", "grumble")
    project.init_project(tmp_path)
    project.commit_data(tmp_path, "one")
    token, password = (quote(PLANTED[name], safe="") for name in ("token", "remote"))
    remote = f"https://ann:{password}@127.0.0.1:1/data?token={token}"
    with open(tmp_path / ".dvc" / "config", "a") as config:
        config.write(f"[core]\n    remote = far\n['remote \"far\"']\n    url = {remote.replace('%', '%%')}\n")
    environment = {
        **ENVIRONMENT, "MLFLOW_TRACKING_URI": tracking, "HF_TOKEN": PLANTED["token"],
        "AWS_SECRET_ACCESS_KEY": PLANTED["key"], "PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    file = write_experiment(tmp_path, **SMALL)

    def run(*arguments):
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=900, check=False
        )

    store = f"sftp://ann:{PLANTED['store']}@127.0.0.1:1/stages"
    base = f"https://ann:{PLANTED['base']}@127.0.0.1:1/model.safetensors?sig={quote(PLANTED['key'])}"
    done = {
        "run": run("-v", "run", file, "--json"),
        "push": run("data", "push"),
        "store": run("run", file, "--set", f"artifact_store={store}", "--json"),
        "base": run("run", file, "--set", f"base={base}", "--json"),
        "unreachable": run("pull", "grumble@nothing"),
    }
    shown = {name: one.stdout + one.stderr for name, one in done.items()}
    statuses = {name: one.returncode for name, one in done.items()}
    assert statuses == {"run": 0, "push": 2, "store": 2, "base": 2, "unreachable": 2}, shown
    assert "must not contain a user name, password or token" in shown["store"]
    assert "Option `base`" in shown["base"]
    assert places_with_secrets(tmp_path, shown) == []
