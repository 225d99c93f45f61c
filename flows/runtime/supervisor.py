"""A program that ends with the one that started it, however that dies, and takes what it started along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

TERMINATE_GRACE_S = 15.0
"""Seconds between being asked to stop and being stopped."""


def supervise(command: Sequence[str]) -> int:
    """Run a command until it ends, or until the process that called this one is gone.

    Args:
        command: the program and its arguments; it gets a session of its own.

    Returns:
        Its exit status.
    """
    parent = os.getppid()
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop.append(number))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and not stop and os.getppid() == parent:
        time.sleep(0.2)
    _terminate(child)
    return child.wait()


def _terminate(child: subprocess.Popen[bytes]) -> None:
    """Stop a process and everything of its session, first asked, then not."""
    for number, patience in ((signal.SIGTERM, TERMINATE_GRACE_S), (signal.SIGKILL, 0.0)):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
