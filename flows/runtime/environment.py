"""What a run runs on: the commit of the code and the hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from lycoris.safety.redaction import redact


def command_line() -> str:
    """Return the command line of this process, without secrets."""
    return redact(" ".join(["lycoris", *sys.argv[1:]]))


def code_commit(project: Path) -> str:
    """Return the commit of the code, marked if the tree was changed; ``"unknown"`` outside a repository."""
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def describe_hardware() -> str:
    """Return the name of the GPU, or the number of CPU cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"
