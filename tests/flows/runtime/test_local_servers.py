"""Local servers: where they listen, that they store what they receive, and that no process outlives the command."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli.main import parse_arguments
from flows.runtime import prefect_server
from flows.runtime.local_servers import LocalServers
from flows.runtime.prefect_server import PARENT_VARIABLE
from lycoris.errors import InputError

ROOT = Path(__file__).parents[3]
CHAIN = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "flows.runtime.supervisor", sys.executable, "-c",
    "import os, subprocess, time; subprocess.Popen(['sleep', '600']); print(os.getpid(), flush=True); time.sleep(600)"])
time.sleep(600)
"""


def is_running(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_child_processes_end_with_the_command_however_it_ends(number):
    with subprocess.Popen([sys.executable, "-c", CHAIN], stdout=subprocess.PIPE, text=True, cwd=ROOT) as command:
        group = int(command.stdout.readline())
        assert is_running(group)
        command.send_signal(number)
        deadline = time.monotonic() + 60
        while is_running(group) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_running(group)


def test_servers_listen_on_loopback_by_default():
    assert parse_arguments(["server"]).host == "127.0.0.1"


def test_a_port_in_use_is_an_error_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} .*--mlflow-port"):
            LocalServers(tmp_path / "folder", "127.0.0.1", (port - 1 if port > 1024 else port + 1, port))
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        LocalServers(tmp_path / "file" / "x", "127.0.0.1", (_free(), _free()))


def test_servers_that_start_again_keep_their_password(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    first, again = (LocalServers(tmp_path, "127.0.0.1", (_free(), _free())) for _ in range(2))
    assert first.password == again.password == (tmp_path / "prefect-auth").read_text().strip()
    assert first.client_environment["PREFECT_API_AUTH_STRING"] == first.password


def test_the_password_of_the_environment_is_used_and_not_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:chosen")
    assert LocalServers(tmp_path, "127.0.0.1", (_free(), _free())).password == "me:chosen"
    assert not (tmp_path / "prefect-auth").exists()


def _free():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_server_whose_parent_was_killed_before_it_started_exits(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, PARENT_VARIABLE: str(gone.pid), "PREFECT_HOME": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.runtime.prefect_server", str(port)], cwd=ROOT, env=environment
    )
    try:
        assert server.wait(timeout=120) == 0
    finally:
        server.kill()


@pytest.mark.parametrize(("left", "expected"), [([2, 1, 0], "stored"), ([1], "out of time")])
def test_a_server_ends_after_it_has_stored_what_it_received(left, expected, monkeypatch):
    monkeypatch.setattr(prefect_server, "DRAIN_TIMEOUT_S", 0.1)
    ended = []

    async def application(scope, receive, send):
        assert (await receive())["type"] == "lifespan.shutdown"
        ended.append("stored" if counts == [0] else "out of time")

    async def receive():
        return {"type": "lifespan.shutdown"}

    counts = list(left)
    waiting = prefect_server.store_before_shutdown(application, lambda: counts.pop(0) if len(counts) > 1 else counts[0])
    asyncio.run(waiting({"type": "lifespan"}, receive, None))
    assert ended == [expected]
