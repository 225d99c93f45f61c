"""Identify this machine, and tell whether one of its processes still runs."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import lru_cache


@lru_cache
def machine_id() -> str:
    """The first eight hexadecimal digits of a hash of this machine's name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def is_process_running(pid: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
