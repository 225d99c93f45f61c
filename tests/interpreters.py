"""The interpreters of this machine, for what must be the same under each supported version of Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13")


@cache
def find_python(version: str) -> Path | None:
    """The interpreter of a version, on the search path or in pyenv's folder; None if there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{version}")
    candidates = [*([found] if found else []), *sorted(root.glob(f"{version}.*/bin/python{version}"))]
    for candidate in candidates:
        command = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return Path(candidate)
    return None
