"""A program that runs a command and ends with its parent process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

TERMINATE_GRACE_S = 15.0
"""Seconds between asking a process to stop and killing it."""


def supervise(command: Sequence[str]) -> int:
    """Run a command until it ends, or until the parent of this process is gone.

    Args:
        command: The program and its arguments, run in a session of its own.

    Returns:
        The exit status of the command.
    """
    parent = os.getppid()
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and not signals and os.getppid() == parent:
        time.sleep(0.2)
    _terminate(child)
    return child.wait()


def _terminate(child: subprocess.Popen[bytes]) -> None:
    """Stop a process and everything in its session: first ask, then kill."""
    for number, grace_s in ((signal.SIGTERM, TERMINATE_GRACE_S), (signal.SIGKILL, 0.0)):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
