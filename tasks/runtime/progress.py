"""What every process is doing, shown in one place.

A task, in whichever process, writes how far it is into a small file; the process the user started shows all
of them as bars on a terminal, or prints one line a finished step elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from lycoris.cache.store import is_process_running

REFRESH_S = 0.25  # seconds between two writes of one bar


@dataclass(frozen=True)
class DaskRelay:
    """In place of the folder, for a Dask worker that does not see it: finished steps and notes as events, no bars.

    Attributes:
        topic: of the events, to which the process that the user started listens.
    """

    topic: str

    def send(self, name: str, record: dict[str, Any]) -> None:
        """Hand on what would have been a file, from any thread of a worker."""
        worker = _worker()
        if worker is not None:
            worker.log_event(self.topic, {"name": name, "record": record})


def _worker() -> Any:
    """The Dask worker of this process; of several, this thread's, or else the first; None if there is none."""
    from distributed import Worker, get_worker

    try:
        return get_worker()
    except ValueError:
        return next(iter(Worker._instances), None)


@dataclass
class StepProgress:
    """How far one step is; call it with (done, total, loss) or less."""

    label: str
    file: Path | None
    started: float = field(default_factory=time.time)
    last_write: float = 0.0

    def __call__(self, done: int, total: int, loss: float | None = None) -> None:
        now = time.time()
        if self.file is None or (now - self.last_write < REFRESH_S and done < total):
            return
        self.last_write = now
        note = "" if loss is None else f"loss {loss:.3f}"
        _write(self.file, {"label": self.label, "done": done, "total": total, "note": note})


@contextmanager
def track_step(folder: Path | DaskRelay | None, label: str) -> Iterator[StepProgress]:
    """Show a step while the block runs; `finished` tells when its result is kept.

    Args:
        folder: where bars are exchanged; None shows nothing.
        label: what the user reads.
    """
    file = None
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.bar"
        _write(file, {"label": label, "done": 0, "total": 0, "note": ""})
    try:
        with capture_warnings(folder):
            yield StepProgress(label, file)
    finally:
        if file is not None:
            file.unlink(missing_ok=True)


def step_finished(folder: Path | DaskRelay | None, label: str, *, cached: bool, seconds: float) -> None:
    """Tell that a step is done, or was done already."""
    _publish(folder, "done", {"label": label, "cached": cached, "seconds": seconds})


def message(folder: Path | DaskRelay | None, text: str) -> None:
    """Tell the user something once, however many processes say it."""
    _publish(folder, "note", {"text": text})


def write_relayed(folder: Path, name: str, record: dict[str, Any]) -> None:
    """Show what a `Relay` has handed on."""
    if folder.is_dir():
        _write(folder / Path(name).name, record)


@contextmanager
def capture_warnings(folder: Path | DaskRelay | None) -> Iterator[None]:
    """What a library warns of while the block runs becomes notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield
    for warning in caught:
        message(folder, str(warning.message))


def _publish(folder: Path | DaskRelay | None, kind: str, record: dict[str, Any]) -> None:
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.{kind}"
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / name, record)
    elif folder is not None:
        folder.send(name, record)


def _write(file: Path, record: dict[str, Any]) -> None:
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps(record))
    os.replace(aside, file)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        return None


@dataclass
class Display:
    """The display of a run."""

    total: int = 0

    def set_total(self, total: int) -> None:
        """Say how many steps there will be."""
        self.total = total


def progress_dir(output: Path) -> Path:
    """Where the steps of this process's run are exchanged; what runs that died left there is removed."""
    place = (Path(output) / ".progress").resolve()
    for other in place.glob("*"):
        if other.name.isdecimal() and not is_process_running(int(other.name)):
            shutil.rmtree(other, ignore_errors=True)
    return place / str(os.getpid())


@contextmanager
def display(folder: Path, out: TextIO | None = None) -> Iterator[Display]:
    """Show every process's steps until the block ends.

    Args:
        folder: where bars are exchanged; emptied first.
        out: a terminal gets bars, anything else a line a finished step; standard error by default.
    """
    out = out or sys.stderr
    display = Display()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
    stop = threading.Event()
    thread = threading.Thread(target=_run_display, args=(folder, display, out, stop), daemon=True)
    thread.start()
    try:
        yield display
    finally:
        stop.set()
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)


def _run_display(folder: Path, display: Display, out: TextIO, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=out, width=None if out.isatty() else 110, highlight=False)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not out.isatty()) as progress:
        whole = progress.add_task("all steps", total=None, note="")
        bars: dict[Path, Any] = {}
        told: set[str] = set()
        count = 0
        last = False
        while not last:
            last = stop.wait(REFRESH_S)
            progress.update(whole, total=display.total or None)
            for file in sorted(folder.glob("*.done")):
                if (record := _read(file)) is not None:
                    count += 1
                    progress.advance(whole)
                    state = "cached" if record["cached"] else f"{record['seconds']:.1f} s"
                    console.print(f"{count:4d}/{display.total or '?'}  {record['label']:<66} {state:>8}", markup=False)
                file.unlink(missing_ok=True)
            for file in sorted(folder.glob("*.note")):
                if (record := _read(file)) is not None and record["text"] not in told:
                    told.add(record["text"])
                    console.print(f"note      {record['text']}", markup=False, soft_wrap=True)
                file.unlink(missing_ok=True)
            present = set(folder.glob("*.bar"))
            for file in present:
                record = _read(file)
                if record is None:
                    continue
                if file not in bars:
                    bars[file] = progress.add_task(record["label"], total=None, note="")
                progress.update(
                    bars[file], completed=record["done"], total=record["total"] or None, note=record["note"]
                )
            for file in set(bars) - present:
                progress.remove_task(bars.pop(file))
