"""A tiny experiment on shipped concepts, and functions that run the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from lycoris import pocket

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
TINY: dict[str, Any] = {
    "name": "tiny",
    "algorithms": ["lora", "full"],
    "captions": ["none", "all"],
    "steps": 2,
    "encoders": ["clip", "dinov2"],
    "images": {"train": 3, "trigger": 3, "alter": 4, "style": 2},
    "sampling": {"steps": 2},
    "workers": 2,
}


def command(*arguments: str) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "flows.cli", *arguments]


def run_lycoris(*arguments: str) -> subprocess.CompletedProcess:
    """Run the command; return its output and exit status."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        timeout=900,
        check=False,
    )


def json_result(done: subprocess.CompletedProcess) -> dict[str, Any]:
    """Return the object that ``--json`` printed."""
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def step_lines(done: subprocess.CompletedProcess) -> list[str]:
    """Return the lines that report finished steps."""
    return [line for line in done.stderr.splitlines() if is_step_line(line)]


def is_step_line(line: str) -> bool:
    """Whether a line of the terminal reports a finished step, and not how far one has come."""
    return re.match(r"step +\d+/", line) is not None


def copy_concept(data: Path, name: str) -> None:
    """Copy a shipped concept into a data folder."""
    entries = yaml.safe_load((pocket.IMAGES / "concepts.yaml").read_text())["concepts"]
    category = entries[name]["category"]
    shutil.copytree(pocket.IMAGES / category / name, data / category / name)
    file = data / "concepts.yaml"
    existing = yaml.safe_load(file.read_text())["concepts"] if file.exists() else {}
    file.write_text(yaml.safe_dump({"concepts": {**existing, name: entries[name]}}))


def write_experiment(folder: Path, **changes: Any) -> str:
    """Write the tiny experiment into a folder that also holds its data and its output."""
    file = folder / "tiny.yaml"
    values = {**TINY, "data": str(folder / "data"), "output": str(folder / "runs"), **changes}
    file.write_text(yaml.safe_dump(values))
    return str(file)
