"""What a run runs on: the version of the code and the hardware."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress

from flows.config.project import CODE_ROOT
from lycoris import __version__
from lycoris.safety.redaction import redact


def command_line() -> str:
    """Return the command line of this process as a shell takes it, without secrets."""
    return redact(shlex.join(["lycoris", *map(redact, sys.argv[1:])]))


def code_version() -> str:
    """Return the commit of a checkout, marked if its tree was changed; the version of an installed package."""
    if (CODE_ROOT / ".git").exists():
        command = ["git", "-C", str(CODE_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return f"version {__version__}"


def describe_hardware() -> str:
    """Return the name of the GPU, or the number of CPU cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"
