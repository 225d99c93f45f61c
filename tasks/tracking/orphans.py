"""Runs that a killed process left RUNNING in MLflow: who works on a run stands in a tag, and the next start looks."""

from __future__ import annotations

import os
import uuid
from typing import Any

from lycoris.cache.store import is_process_running, machine_id

PROCESS_TAG = "pipeline.process"
"""On a run: the process that works on it, `<machine>-<process id>-<its own mark>`."""
_PROCESS_TOKEN = uuid.uuid4().hex[:8]


def process_tag() -> str:
    """What stands in the tag of a run that this process works on."""
    return f"{machine_id()}-{os.getpid()}-{_PROCESS_TOKEN}"


def is_orphaned(process: str) -> bool:
    """Whether a process of this machine is no more; of another machine's nothing is known."""
    machine, _, rest = process.partition("-")
    number, _, _ = rest.partition("-")
    if machine != machine_id() or not number.isdecimal() or process == process_tag():
        return False
    return int(number) == os.getpid() or not is_process_running(int(number))


def close_orphaned_runs(client: Any, experiment: str) -> list[str]:
    """End the runs of an experiment whose process was killed; work on the same content opens them again.

    Args:
        client: of MLflow.
        experiment: its id.

    Returns:
        Their ids, whose status is KILLED now.
    """
    running = client.search_runs(
        [experiment], f"attributes.status = 'RUNNING' and tags.`{PROCESS_TAG}` LIKE '{machine_id()}-%'"
    )
    left = [run.info.run_id for run in running if is_orphaned(run.data.tags[PROCESS_TAG])]
    for run_id in left:
        client.set_terminated(run_id, "KILLED")
    return left
