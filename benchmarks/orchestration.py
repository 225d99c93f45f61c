"""What Prefect costs: a flow of trivial tasks through the runner and server of `lycoris run`, beside plain calls.

    python benchmarks/orchestration.py
    python benchmarks/orchestration.py --tasks 100 --turns 7 --json

Flows of no, of one and of many tasks take turns on one temporary server, each with two worker processes of its own, as
in `lycoris run`. A flow run's cost is that of the flow without a task. The first task costs more than the others: its
worker process starts for it. A task's cost is the slope between one task and many. Told are the median of the turns,
and the least and the greatest; the start of the server, once a command, stands apart. The processor time of the flow,
its workers and the server, which a busy machine stretches less, is told too (on Linux).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORKER_COUNT = 2


def trivial(number: int) -> str:
    """Work of microseconds."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def direct_calls(count: int) -> list[str]:
    """The calls without any orchestration."""
    return [trivial(number) for number in range(count)]


def cpu_seconds() -> float:
    """Seconds of processor time that this process, what it started and what of that has ended have used."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(file.parent.name) == os.getpid() or int(fields[1]) == os.getpid():
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(tasks: int, repeats: int) -> dict[str, Any]:
    """Times of flows on one server.

    Args:
        tasks: of the long flow, at least 2.
        turns: how often each flow is run; one more, before, is not counted.

    Returns:
        ``{"server_s", "flow_s", "first_task_s", "task_ms", "plain_us"}``, each ``[median, least, greatest]``, and
        the middle three as ``{"processor": ...}`` too.
    """
    from flows.runtime.prefect_server import configure_environment, prefect_server

    configure_environment()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with prefect_server(Path(folder)):
            server = time.monotonic() - began
            from prefect import flow, task

            from flows.runtime.task_runner import ProcessPoolRunner

            one = task(trivial)

            @flow
            def orchestrated(count: int) -> list[str]:
                futures = [one.submit(number) for number in range(count)]
                return [future.result() for future in futures]

            times: dict[int, list[float]] = {0: [], 1: [], tasks: []}
            used: dict[int, list[float]] = {0: [], 1: [], tasks: []}
            for turn in range(repeats + 1):
                for count, taken in times.items():
                    began, before = time.monotonic(), cpu_seconds()
                    found = orchestrated.with_options(task_runner=ProcessPoolRunner(max_workers=WORKER_COUNT))(count)
                    seconds = time.monotonic() - began
                    assert found == direct_calls(count)
                    if turn:
                        taken.append(seconds)
                        used[count].append(cpu_seconds() - before)
    began = time.monotonic()
    direct_calls(tasks)
    calls = time.monotonic() - began
    return {
        "server_s": _median_min_max([server]),
        **_costs(times),
        "plain_us": _median_min_max([calls / tasks * 1e6]),
        "processor": _costs(used),
    }


def _costs(seconds: dict[int, list[float]]) -> dict[str, list[float]]:
    """What a flow run, its first task and each further task cost, from flows of none, of one and of many tasks."""
    none, one, many = (seconds[count] for count in sorted(seconds))
    further = max(seconds) - 1
    return {
        "flow_s": _median_min_max(none),
        "first_task_s": _median_min_max([first - empty for first, empty in zip(one, none, strict=True)]),
        "task_ms": _median_min_max([(all_ - first) / further * 1e3 for all_, first in zip(many, one, strict=True)]),
    }


def _median_min_max(values: list[float]) -> list[float]:
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.tasks < 2 or asked.turns < 1:
        parser.error("--tasks must be at least 2 and --turns at least 1")
    before = os.getloadavg()[0]
    found = measure(asked.tasks, asked.turns)
    found |= {
        "tasks": asked.tasks,
        "turns": asked.turns,
        "load_before": round(before, 2),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    if asked.json:
        print(json.dumps(found))
        return
    used = {f"{name}, processor": value for name, value in found.pop("processor").items()}
    for name, value in {**found, **used}.items():
        print(f"{name:<26}{value if not isinstance(value, list) else '{} ({} to {})'.format(*value)}")


if __name__ == "__main__":
    main()
