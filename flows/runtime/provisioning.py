"""Provisioning of a Prefect server: work pool, concurrency limit, automation and deployments; idempotent."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.runtime.user_changes import read_changes, restore_changes
from lycoris.errors import InputError, missing_path_error

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("lycoris.flows.provisioning")

WORK_POOL = "local"
GPU_LIMIT = "gpu"
JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""The work pool's template: a run chooses neither its command nor its environment or folder."""
HEARTBEAT_SECONDS = 30
"""Seconds between two heartbeats of a flow run."""
CRASH_AUTOMATION_NAME = "Mark flow runs without a heartbeat as crashed"


def provision(*, gpus: int = 1) -> None:
    """Create the work pool, the GPU concurrency limit and the automation for dead runs, unless they exist.

    Args:
        gpus: How many trainings may use a GPU at the same time.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", base_job_template=JOB_TEMPLATE))
        except ObjectAlreadyExists:
            _limit_work_pool(client)
        client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, gpus)
        _create_crash_automation(client)


def _limit_work_pool(client: SyncPrefectClient) -> None:
    """Replace Prefect's own template of a work pool that an earlier version created; name one of the user's."""
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.workers.process import ProcessWorker

    template = client.read_work_pool(WORK_POOL).base_job_template
    if template == JOB_TEMPLATE:
        return
    if template in ({}, ProcessWorker.get_default_base_job_template()):
        client.update_work_pool(WORK_POOL, WorkPoolUpdate(base_job_template=JOB_TEMPLATE))
    else:
        logger.warning(
            "The work pool `%s` keeps a job template that is not ours: whoever uses the API chooses its variables %s.",
            WORK_POOL, ", ".join(sorted(template.get("variables", {}).get("properties", {}))) or "(none)",
        )  # fmt: skip


def _create_crash_automation(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    if client.read_automations_by_name(CRASH_AUTOMATION_NAME):
        return
    heartbeat = "prefect.flow-run.heartbeat"
    ended = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    automation = AutomationCore(
        name=CRASH_AUTOMATION_NAME,
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *ended},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_SECONDS),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="The run sends no heartbeats any more.")],
    )
    client.create_automation(automation)


def deploy(file: Path, project: Path, environment: Mapping[str, str]) -> None:
    """Create or update the deployments in a file; what the user has switched or scheduled on the server stays.

    Args:
        file: A file in the format of ``prefect.yaml``.
        project: The folder in which runs start.
        environment: Environment variables of the command, with the address of the server.

    Raises:
        InputError: The file does not exist, or Prefect rejects it.
    """
    if not Path(file).is_file():
        raise missing_path_error("deployment file", file)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        before = read_changes(client)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-8:]
        raise InputError(f"Prefect rejects the deployments in `{file}`: {' / '.join(lines)}")
    with get_client(sync_client=True) as client:
        restore_changes(client, before)
