"""A small study that can be killed with all its processes, and the state of its folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.e2e import project
from tests.e2e.tiny import ENVIRONMENT, ROOT, command, copy_concept, write_experiment

SMALL = {
    "algorithms": ["lora"],
    "captions": ["none"],
    "steps": 6,
    "encoders": ["clip"],
    "images": {"train": 2, "trigger": 2, "alter": 2, "style": 2},
    "workers": 1,
}
"""One adapter: captions, a training, three sets of images, three of features, scores."""
MAX_CONCURRENT = min(2, len(os.sched_getaffinity(0)))
"""Concurrent runs."""


def study(folder: Path, **changes: Any) -> Path:
    """Create a project with git and DVC whose data has changed since its last version, and an experiment on it."""
    copy_concept(folder / "data", "grumble")
    project.init_project(folder)
    project.commit_data(folder, "v1")
    (folder / "data" / "movie_characters" / "grumble" / "00.png").unlink()
    write_experiment(folder, **{**SMALL, **changes})
    return folder


def copy(pattern: Path, folder: Path) -> Path:
    """Copy a project with its state."""
    shutil.copytree(pattern, folder, symlinks=True)
    (folder / "tiny.yaml").write_text((pattern / "tiny.yaml").read_text().replace(str(pattern), str(folder)))
    return folder


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the command as the leader of a process group."""
    out, err = (open(folder / name, "w") for name in ("out", "err"))  # noqa: SIM115
    with out, err:
        return subprocess.Popen(
            command("run", str(folder / "tiny.yaml"), "--json"),
            cwd=ROOT, env={**ENVIRONMENT, **environment}, stdout=out, stderr=err, text=True, start_new_session=True,
        )  # fmt: skip


def spent(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time of the group, which do not depend on how busy the machine is."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[2]) == process.pid:
                ticks += sum(map(int, fields[11:15]))  # of the process, and of children that have ended
    return ticks / os.sysconf("SC_CLK_TCK")


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill the whole group; return whether the command was still running."""
    running = process.poll() is None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return running and process.wait() == -signal.SIGKILL


def finish(folder: Path, **environment: str) -> tuple[dict[str, Any], list[str]]:
    """Run the command to its end.

    Returns:
        The JSON object that it printed, and the lines of standard error.
    """
    process = start(folder, **environment)
    try:
        status = process.wait(timeout=1500)
    finally:
        kill(process)
    errors = (folder / "err").read_text()
    assert status == 0, errors[-4000:]
    return json.loads((folder / "out").read_text().splitlines()[-1]), errors.splitlines()


def finished(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Finished stages, as ``<stage>/<key>`` -> values that change if the stage is computed again."""
    entries = {}
    for record in (folder / "runs" / "store").glob("*/*/stage.json"):
        if not record.parent.name.startswith("."):
            own, inside = record.parent.stat(), record.stat()
            entries["/".join(record.parts[-3:-1])] = (own.st_ino, own.st_mtime_ns, inside.st_mtime_ns)
    return entries


def logged(folder: Path) -> set[str]:
    """A summary of the tracking database; empty while it cannot be read."""
    database = folder / "runs" / "mlflow" / "mlflow.db"
    entries: set[str] = set()
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)) as connection,
    ):
        for query in (
            "select 'run ' || run_uuid from runs where status != 'FINISHED'",
            "select 'finished ' || run_uuid from runs where status = 'FINISHED'",
            "select 'model ' || name from logged_models",
            "select 'version ' || name || version from model_versions",
            "select 'alias ' || alias from registered_model_aliases",
        ):
            entries.update(row[0] for row in connection.execute(query))
    return entries


def moments(folder: Path) -> set[str]:
    """What has begun or is done: each new entry marks the boundary of a stage."""
    runs = folder / "runs"
    store = runs / "store"
    entries = {f"stored {name}" for name in finished(folder)}
    entries |= {f"begun {path.parent.name}" for path in store.glob("*/.*-*-*-*")}
    entries |= {"captions" for _ in store.glob("tags/*/*.json")}
    entries |= {"training" for _ in store.glob("unfinished/*/state.safetensors")}
    outputs = [*(runs / "tiny").glob("[!.]*.*"), *(runs / "tiny").glob("[!.]*/[!.]*.*")]
    entries |= {f"outputs {path.name}" for path in outputs}
    return entries | logged(folder)


def new_moment(folder: Path, process: subprocess.Popen[str], known: set[str]) -> set[str]:
    """Wait for a new entry; return an empty set if the process ends first."""
    while process.poll() is None:
        with suppress(FileNotFoundError):
            if new := moments(folder) - known:
                return new
        time.sleep(0.02)
    return set()
