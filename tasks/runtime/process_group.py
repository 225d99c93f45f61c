"""Train with several processes of this machine, one for each GPU, which take every step together."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import tasks
from lycoris.errors import InputError
from lycoris.safety.redaction import one_line
from tasks.runtime.adapter_training import AdapterTraining
from tasks.runtime.progress import StepProgress

END_SECONDS = 10
"""Seconds that processes have to end by themselves when the task is cancelled."""
INPUT_ERROR, OTHER_ERROR = "input", "other"


def train_on_processes(trainings: Sequence[AdapterTraining], bar: StepProgress, count: int) -> None:
    """Train as `tasks.runtime.adapter_training.run_trainings` does, each step divided among processes.

    The first process writes checkpoints and the result; a later call continues from them. When one fails, all end.

    Args:
        trainings: one, or several at the same time.
        bar: shows the progress.
        count: number of processes; as many GPUs are needed, if the trainings are on a GPU.

    Raises:
        InputError: something is wrong with the data or the settings, or a process ended; one sentence.
    """
    root = str(Path(tasks.__file__).parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trainings").write_bytes(pickle.dumps((list(trainings), bar)))
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "--module"]
        command = [sys.executable, "-m", *launcher, "tasks.runtime.training_process", name]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
            )
            assert process.stdin is not None
            code = _wait(process, process.stdin)
        if code:
            raise InputError(_describe_failure(folder, code, count))
    if len(trainings) == 1 and not trainings[0].is_trained:
        raise InputError(
            "The processes that train together stored their result under another key: the code of this project was "
            "changed while the run went on. Start it again."
        )


def write_failure(folder: Path, rank: int, error: Exception) -> None:
    """Leave what went wrong in a process for the one that started it."""
    kind = INPUT_ERROR if isinstance(error, InputError) else OTHER_ERROR
    text = str(error) if kind == INPUT_ERROR else f"{type(error).__name__}: {error}"
    (folder / f"failure-{rank}").write_text(f"{kind}\n{text}")


def _wait(process: subprocess.Popen[bytes], stdin: IO[bytes]) -> int:
    """Wait for the end; the processes end when this one does, since their standard input does."""
    try:
        return process.wait()
    finally:
        stdin.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _describe_failure(folder: Path, code: int, count: int) -> str:
    """One sentence about the process that failed first; the others fail because it is gone."""
    failures = sorted(folder.glob("failure-*"), key=lambda file: file.stat().st_mtime_ns)
    for file in failures:
        kind, _, text = file.read_text().partition("\n")
        if kind == INPUT_ERROR:
            return text
    if failures:
        _, _, text = failures[0].read_text().partition("\n")
        rank = int(failures[0].name.rpartition("-")[2])
        return f"Process {rank + 1} of the {count} that train together failed: {one_line(text)}"
    output = (folder / "output").read_text(errors="replace")
    codes = re.findall(r"failed \(exitcode: (-?\d+)\)", output)
    return f"One of the {count} processes that train together ended with exit code {(codes or [code])[0]}."
