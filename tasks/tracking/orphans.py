"""Runs that a killed process left RUNNING in MLflow: who works on a run stands in a tag, and the next start looks."""

from __future__ import annotations

import os
import uuid
from typing import Any

from lycoris.cache.store import alive, host

PROCESS = "pipeline.process"
"""On a run: the process that works on it, `<machine>-<process id>-<its own mark>`."""
_OWN = uuid.uuid4().hex[:8]


def this_process() -> str:
    """What stands in the tag of a run that this process works on."""
    return f"{host()}-{os.getpid()}-{_OWN}"


def is_left(process: str) -> bool:
    """Whether a process of this machine is no more; of another machine's nothing is known."""
    machine, _, rest = process.partition("-")
    number, _, _ = rest.partition("-")
    if machine != host() or not number.isdecimal() or process == this_process():
        return False
    return int(number) == os.getpid() or not alive(int(number))


def close_left(client: Any, experiment: str) -> list[str]:
    """End the runs of an experiment whose process was killed; work on the same content opens them again.

    Args:
        client: of MLflow.
        experiment: its id.

    Returns:
        Their ids, whose status is KILLED now.
    """
    running = client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.`{PROCESS}` LIKE '{host()}-%'")
    left = [run.info.run_id for run in running if is_left(run.data.tags[PROCESS])]
    for run_id in left:
        client.set_terminated(run_id, "KILLED")
    return left
