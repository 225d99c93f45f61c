"""Progress of every process of a run, shown in one place.

A task, in whichever process, writes its progress to a small file; the process that the user started shows all of them
as bars on a terminal, or prints one line per finished step elsewhere. Log records of other processes take the same
way (`tasks.runtime.log_forwarding`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.processes import is_process_running
from lycoris.safety.redaction import one_line
from tasks.runtime import finished

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID

REFRESH_S = 0.25
"""Seconds between two writes of one bar, and between two updates of the display."""

STEP_UNITS = {"adapter": "training steps", "adapters": "training steps", "images": "sampling steps"}
"""Stage, the first word of a step's label -> what its count counts; images for all others."""

LINE_INTERVAL_S = 60.0
"""Seconds between two lines about a running step, where standard error is no terminal."""

logger = logging.getLogger("lycoris.tasks")
steps_logger = logging.getLogger("lycoris.steps")
"""Gets one record per finished step. `display` shows these steps, unless the level is above INFO."""


@dataclass(frozen=True)
class DaskRelay:
    """Takes the place of the folder on a Dask worker that does not see it: finished steps and log records, no bars.

    Attributes:
        topic: of the Dask events that the process the user started subscribes to.
    """

    topic: str

    def send(self, name: str, record: dict[str, Any]) -> None:
        """Send what would be a file, from any thread of a worker."""
        worker = _current_worker()
        if worker is not None:
            worker.log_event(self.topic, {"name": name, "record": record})


ProgressChannel = Path | DaskRelay | None
"""How processes exchange progress: a folder that all of them see, a relay, or not at all."""


def _current_worker() -> Any:
    """The Dask worker of this thread, else the first of this process, else None."""
    from distributed import Worker, get_worker

    try:
        return get_worker()
    except ValueError:
        return next(iter(Worker._instances), None)


@dataclass
class StepProgress:
    """Progress of one step; call it with (done, total, loss) or less."""

    label: str
    file: Path | None
    last_write: float = 0.0

    def __call__(self, done: int, total: int, loss: float | None = None) -> None:
        now = time.monotonic()
        if self.file is None or (now - self.last_write < REFRESH_S and done < total):
            return
        self.last_write = now
        note = "" if loss is None else f"loss {loss:.3f}"
        _write(self.file, {"label": self.label, "done": done, "total": total, "note": note})


@contextmanager
def track_step(channel: ProgressChannel, label: str) -> Iterator[StepProgress]:
    """Show a step while the block runs; `step_finished` reports it once its result is stored.

    Args:
        channel: how processes exchange progress.
    """
    file = None
    if isinstance(channel, Path):
        channel.mkdir(parents=True, exist_ok=True)
        file = channel / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.bar"
        _write(file, {"label": label, "done": 0, "total": 0, "note": ""})
    try:
        with log_warnings():
            yield StepProgress(label, file)
    finally:
        if file is not None:
            file.unlink(missing_ok=True)


def step_finished(channel: ProgressChannel, label: str, *, cached: bool, seconds: float) -> None:
    """Report a step that is done, or was done before."""

    def report() -> None:
        steps_logger.info("%s: %s", label, "cached" if cached else f"{seconds:.1f} s")
        publish(channel, "done", {"label": label, "cached": cached, "seconds": seconds})

    finished.report(report)


@contextmanager
def log_warnings() -> Iterator[None]:
    """Log the Python warnings that libraries issue while the block runs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield
    for warning in caught:
        logger.warning("%s", warning.message)


def publish(channel: ProgressChannel, kind: str, record: dict[str, Any]) -> None:
    """Send a record to the process that shows the run; `kind` is ``"done"``, ``"log"`` or ``"curve"``."""
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.{kind}"
    if isinstance(channel, Path):
        channel.mkdir(parents=True, exist_ok=True)
        _write(channel / name, record)
    elif channel is not None:
        channel.send(name, record)


def write_relayed(folder: Path, name: str, record: dict[str, Any]) -> None:
    """Write a record that a `DaskRelay` has sent to the folder of the display."""
    if folder.is_dir():
        _write(folder / Path(name).name, record)


def _write(file: Path, record: dict[str, Any]) -> None:
    atomic_write_text(file, json.dumps(record))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        return None


def step_unit(label: str) -> str:
    """What the count of a running step counts, in the plural."""
    return STEP_UNITS.get(label.partition(" ")[0], "images")


def progress_dir(output: Path) -> Path:
    """The folder through which the steps of this process's run are shown; those of dead processes are removed."""
    root = (Path(output) / ".progress").resolve()
    for other in root.glob("*"):
        if other.name.isdecimal() and not is_process_running(int(other.name)):
            shutil.rmtree(other, ignore_errors=True)
    return root / str(os.getpid())


@dataclass
class Display:
    """Shows the steps of a run as they are reported in a folder.

    Attributes:
        folder: through which steps are reported.
        console: where they are shown: bars on a terminal, a line per finished step elsewhere.
        total: how many steps there will be; 0 if not known yet.
        finished: how many are done.
        on_curve: called with the records of `tasks.runtime.curves` as they come in.
    """

    folder: Path
    console: Console
    total: int = 0
    finished: int = 0
    on_curve: Callable[[dict[str, Any]], object] | None = None
    _last_lines: float = field(default_factory=time.monotonic)
    _bars: dict[Path, TaskID] = field(default_factory=dict)

    def set_total(self, total: int) -> None:
        """Set how many steps there will be."""
        self.total = total

    @staticmethod
    def columns() -> list[ProgressColumn]:
        """What a bar shows; brackets in a label are text."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

        label, unit, note = (
            TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[unit]", "fields[note]")
        )
        return [label, BarColumn(), MofNCompleteColumn(), unit, note, TimeElapsedColumn()]

    def run(self, stop: threading.Event) -> None:
        """Show steps until the event is set."""
        from rich.progress import Progress

        disabled = not (self.console.is_terminal and steps_logger.isEnabledFor(logging.INFO))
        with Progress(*self.columns(), console=self.console, disable=disabled) as bars:
            overall = bars.add_task("whole run", total=None, unit="steps", note="")
            stopped = False
            while not stopped:
                stopped = stop.wait(REFRESH_S)
                self._show_finished()
                self._handle_logs()
                self._handle_curves()
                if disabled:
                    self._print_running()
                bars.update(overall, completed=self.finished, total=self.total or None)
                self._show_bars(bars)

    def _show_finished(self) -> None:
        for record in self._take("*.done"):
            self.finished += 1
            if not steps_logger.isEnabledFor(logging.INFO):
                continue
            state = "cached" if record["cached"] else f"{record['seconds']:.1f} s"
            line = f"step {self.finished:3d}/{self.total or '?':<4} {one_line(record['label']):<61} {state:>8}"
            self.console.print(line, markup=False)

    def _handle_logs(self) -> None:
        """Hand log records of other processes to this process's handlers, each text once per kind."""
        for values in self._take("*.log"):
            record = logging.makeLogRecord({**values, "forwarded": True})
            logging.getLogger(record.name).handle(record)

    def _handle_curves(self) -> None:
        for record in self._take("*.curve"):
            if self.on_curve is not None:
                self.on_curve(record)

    def _print_running(self) -> None:
        """Print a line per running step, once in `LINE_INTERVAL_S`, where there are no bars."""
        if time.monotonic() - self._last_lines < LINE_INTERVAL_S or not steps_logger.isEnabledFor(logging.INFO):
            return
        self._last_lines = time.monotonic()
        for record in filter(None, map(_read, sorted(self.folder.glob("*.bar")))):
            unit = step_unit(record["label"])
            count = f"at {record['done']} of {record['total']} {unit}" if record["total"] else "started"
            line = f"running       {one_line(record['label']):<52} {count}  {one_line(record['note'])}"
            self.console.print(line.rstrip(), markup=False)

    def _take(self, pattern: str) -> Iterator[dict[str, Any]]:
        """Read and remove the records of a kind, the oldest first."""
        for file in sorted(self.folder.glob(pattern)):
            if (record := _read(file)) is not None:
                yield record
            file.unlink(missing_ok=True)

    def _show_bars(self, bars: Progress) -> None:
        present = set(self.folder.glob("*.bar"))
        for file in present:
            record = _read(file)
            if record is None:
                continue
            if file not in self._bars:
                label = one_line(record["label"])
                self._bars[file] = bars.add_task(label, total=None, unit=step_unit(label), note="")
            bars.update(self._bars[file], completed=record["done"], total=record["total"] or None, note=record["note"])
        for file in set(self._bars) - present:
            bars.remove_task(self._bars.pop(file))


@contextmanager
def display(folder: Path, out: TextIO | None = None) -> Iterator[Display]:
    """Show the steps of all processes until the block ends.

    Args:
        folder: through which steps are reported; emptied first.
        out: a terminal gets bars, anything else a line per finished step; default: standard error.
    """
    from rich.console import Console

    out = out or sys.stderr
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shown = Display(folder, Console(file=out, width=None if out.isatty() else 110, highlight=False))
    stop = threading.Event()
    thread = threading.Thread(target=shown.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        stop.set()
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)
