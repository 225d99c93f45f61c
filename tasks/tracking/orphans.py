"""Close MLflow runs that killed processes left in the state RUNNING; a tag of the run says who works on it."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from lycoris.cache.processes import is_process_running, machine_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROCESS_TAG = "pipeline.process"
"""Tag of a run: the process that works on it, ``<machine>-<process id>-<random>``."""
_PROCESS_TOKEN = uuid.uuid4().hex[:8]


def process_tag() -> str:
    """The value of the tag for this process."""
    return f"{machine_id()}-{os.getpid()}-{_PROCESS_TOKEN}"


def is_orphaned(process: str) -> bool:
    """Whether a tag names a process of this machine that no longer runs; of other machines nothing is known."""
    machine, _, rest = process.partition("-")
    pid, _, _ = rest.partition("-")
    if machine != machine_id() or not pid.isdecimal() or process == process_tag():
        return False
    return int(pid) == os.getpid() or not is_process_running(int(pid))


def close_orphaned_runs(client: MlflowClient, experiment: str) -> list[str]:
    """End the runs of an experiment whose process was killed; work on the same content reopens them.

    Returns:
        The ids of the runs, whose status is KILLED now.
    """
    query = f"attributes.status = 'RUNNING' and tags.`{PROCESS_TAG}` LIKE '{machine_id()}-%'"
    running = client.search_runs([experiment], query)
    orphaned = [run.info.run_id for run in running if is_orphaned(run.data.tags[PROCESS_TAG])]
    for run_id in orphaned:
        client.set_terminated(run_id, "KILLED")
    return orphaned
