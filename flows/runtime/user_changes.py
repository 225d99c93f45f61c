"""What a user has changed of deployments on the server, kept when `lycoris server` creates the deployments again.

Prefect replaces the schedules and automations of a deployment by those of the file. Switches that the user has turned
and schedules that the user has added are written back afterwards. Which schedules came from the file is recorded in a
variable of the server, so that one that leaves the file is not taken for the user's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule

SCHEDULES_VARIABLE = "lycoris_schedules"
"""Variable of the server: the schedules that the deployment file had when it was last deployed."""

ScheduleKey = tuple[str, str]
"""Id of the deployment, and the schedule as JSON without the moment that an interval counts from."""


@dataclass(frozen=True)
class UserChanges:
    """The state of deployments before they are created again.

    Attributes:
        schedules: all schedules on the server, with their deployments.
        from_file: the keys of those that came from the file; None where that was not recorded.
        automations: name -> whether it is on.
    """

    schedules: dict[ScheduleKey, tuple[UUID, DeploymentSchedule]]
    from_file: frozenset[ScheduleKey] | None
    automations: dict[str, bool]


def read_changes(client: SyncPrefectClient) -> UserChanges:
    """Read schedules and automations before the deployments are created again."""
    variable = client.read_variable_by_name(SCHEDULES_VARIABLE)
    recorded: Any = None if variable is None else variable.value
    return UserChanges(
        _schedules(client),
        None if not isinstance(recorded, list) else frozenset((one, other) for one, other in recorded),
        {automation.name: automation.enabled for automation in client.read_automations()},
    )


def restore_changes(client: SyncPrefectClient, before: UserChanges) -> None:
    """Turn switches back, add the user's own schedules again, and record those of the file."""
    now = _schedules(client)
    for key, (deployment, schedule) in now.items():
        if key in before.schedules and (active := before.schedules[key][1].active) != schedule.active:
            client.update_deployment_schedule(deployment, schedule.id, active=active)
    deployments = {deployment.id for deployment in client.read_deployments()}
    for key, (deployment, schedule) in before.schedules.items():
        is_own = before.from_file is not None and key not in before.from_file
        if is_own and key not in now and deployment in deployments:
            _add_schedule(client, deployment, schedule)
    for automation in client.read_automations():
        enabled = before.automations.get(automation.name, automation.enabled)
        if enabled != automation.enabled:
            (client.resume_automation if enabled else client.pause_automation)(automation.id)
    _record(client, sorted(now))


def _schedules(client: SyncPrefectClient) -> dict[ScheduleKey, tuple[UUID, DeploymentSchedule]]:
    return {
        (str(deployment.id), _without_anchor(schedule)): (deployment.id, schedule)
        for deployment in client.read_deployments()
        for schedule in deployment.schedules
    }


def _without_anchor(schedule: DeploymentSchedule) -> str:
    values = schedule.schedule.model_dump(mode="json", exclude={"anchor_date"})
    return json.dumps([values, schedule.parameters], sort_keys=True)


def _add_schedule(client: SyncPrefectClient, deployment: UUID, schedule: DeploymentSchedule) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    fields = {name: getattr(schedule, name) for name in ("schedule", "active", "max_scheduled_runs", "slug")}
    client.create_deployment_schedules(
        deployment, [DeploymentScheduleCreate(**fields, parameters=schedule.parameters or {})]
    )


def _record(client: SyncPrefectClient, keys: list[ScheduleKey]) -> None:
    from prefect.client.schemas.actions import VariableCreate, VariableUpdate

    value = [list(key) for key in keys]
    if client.read_variable_by_name(SCHEDULES_VARIABLE) is None:
        client.create_variable(VariableCreate(name=SCHEDULES_VARIABLE, value=value))
    else:
        client.update_variable(VariableUpdate(name=SCHEDULES_VARIABLE, value=value))
