"""`lycoris server` in a process of its own, and its two interfaces."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.tiny import ENVIRONMENT, ROOT, command

TIMEOUT_S = 1800


def ask(address: str, body: Any = None, password: str = "", method: str | None = None) -> Any:
    """Return the answer of an API; None if there is nothing. While its database is busy, ask again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    if password:
        request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer) if answer.status in (200, 201) else None
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code != 503 or time.monotonic() > deadline:
                raise
        time.sleep(2)


def until(poll: Callable[[], Any], process: subprocess.Popen, log: Path) -> Any:
    """Wait until a function returns a value."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if (value := poll()) is not None:
                return value
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(2)
    raise AssertionError(f"No result after {TIMEOUT_S} s: {log.read_text()[-3000:]}")


def free_ports() -> tuple[int, int]:
    """Two free ports of this machine."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def start_server(log: Path, *options: object) -> subprocess.Popen:
    """Start `lycoris server` with these options; its output goes to a file."""
    with open(log, "ab") as stream:
        return subprocess.Popen(
            command("server", *map(str, options)),
            cwd=ROOT, env=ENVIRONMENT, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
