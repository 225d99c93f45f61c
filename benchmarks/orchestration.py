"""Overhead of Prefect: flows of trivial tasks with the runner and server of `lycoris run`, compared with direct calls.

    python benchmarks/orchestration.py
    python benchmarks/orchestration.py --tasks 100 --repeats 7 --json

Flows of no, one and many tasks run in turn on one temporary server, each with two worker processes of its own, as in
`lycoris run`. The cost of a flow run is that of the flow without tasks. The first task costs more than the others,
because its worker process has to start. The cost of a task is the slope between one task and many. It prints the
median, minimum and maximum over all repeats, and separately the start of the server, which happens once per command. On
Linux it also prints the CPU time of the flow, its workers and the server, which depends less on other load.
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
    """A task that takes microseconds."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def direct_calls(count: int) -> list[str]:
    """Results of the same calls without orchestration."""
    return [trivial(number) for number in range(count)]


def cpu_seconds() -> float:
    """CPU time in seconds used by this process and its child processes, running and finished."""
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
    """Time flows on one server.

    Args:
        tasks: number of tasks of the longest flow, at least 2.
        repeats: number of measured runs of each flow, after one warm-up run.

    Returns:
        ``{"server_s", "flow_s", "first_task_s", "task_ms", "direct_us"}``, each ``[median, minimum, maximum]``, and
        ``"cpu"`` with the CPU time of the middle three.
    """
    from flows.runtime.client_environment import configure_environment
    from flows.runtime.prefect_server import prefect_server

    configure_environment()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with prefect_server(Path(folder)):
            server_seconds = time.monotonic() - started
            from prefect import flow, task

            from flows.runtime.task_runner import ProcessPoolRunner

            trivial_task = task(trivial)

            @flow
            def orchestrated(count: int) -> list[str]:
                futures = [trivial_task.submit(number) for number in range(count)]
                return [future.result() for future in futures]

            wall_times: dict[int, list[float]] = {0: [], 1: [], tasks: []}
            cpu_times: dict[int, list[float]] = {0: [], 1: [], tasks: []}
            for repeat in range(repeats + 1):
                for count in wall_times:
                    started, cpu_started = time.monotonic(), cpu_seconds()
                    result = orchestrated.with_options(task_runner=ProcessPoolRunner(max_workers=WORKER_COUNT))(count)
                    seconds = time.monotonic() - started
                    assert result == direct_calls(count)
                    if repeat:
                        wall_times[count].append(seconds)
                        cpu_times[count].append(cpu_seconds() - cpu_started)
    started = time.monotonic()
    direct_calls(tasks)
    direct_seconds = time.monotonic() - started
    return {
        "server_s": _median_min_max([server_seconds]),
        **_costs(wall_times),
        "direct_us": _median_min_max([direct_seconds / tasks * 1e6]),
        "cpu": _costs(cpu_times),
    }


def _costs(seconds: dict[int, list[float]]) -> dict[str, list[float]]:
    """Cost of a flow run, its first task and each further task, from flows of no, one and many tasks."""
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
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.tasks < 2 or options.repeats < 1:
        parser.error("--tasks must be at least 2 and --repeats at least 1")
    load = os.getloadavg()[0]
    result = measure(options.tasks, options.repeats)
    result |= {
        "tasks": options.tasks,
        "repeats": options.repeats,
        "load_before": round(load, 2),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    if options.json:
        print(json.dumps(result))
        return
    cpu = {f"{name}, CPU": value for name, value in result.pop("cpu").items()}
    for name, value in {**result, **cpu}.items():
        print(f"{name:<26}{value if not isinstance(value, list) else '{} ({} to {})'.format(*value)}")


if __name__ == "__main__":
    main()
