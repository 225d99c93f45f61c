"""The work pool: a run chooses neither its command nor its environment."""

import asyncio
import uuid
from contextlib import suppress
from datetime import timedelta

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from flows.runtime.provisioning import JOB_TEMPLATE, WORK_POOL, provision
from flows.runtime.user_changes import read_changes, restore_changes

OPEN = ProcessWorker.get_default_base_job_template()
TRIGGER = EventTrigger(expect={"dvc.data.changed"}, posture=Posture.Reactive, threshold=1)
CHOSEN = {"command": "touch marker", "env": {"PATH": "attacker"}, "working_dir": "/", "env.PYTHONPATH": "attacker"}


@pytest.fixture
def client(server):
    with get_client(sync_client=True) as opened:
        with suppress(ObjectNotFound):
            opened.delete_work_pool(WORK_POOL)
        yield opened


def deploy(client):
    flow = client.create_flow_from_name(f"flow-{uuid.uuid4()}")
    return client.create_deployment(flow_id=flow, name="one", work_pool_name=WORK_POOL)


def test_a_run_cannot_choose_its_command_environment_or_folder(client):
    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", base_job_template=OPEN))
    run = client.create_flow_run_from_deployment(deploy(client), job_variables={"command": "touch marker"})
    assert client.read_flow_run(run.id).job_variables == {"command": "touch marker"}  # Prefect's own template
    client.delete_work_pool(WORK_POOL)
    provision()
    ours = deploy(client)
    for name, value in CHOSEN.items():
        with pytest.raises(PrefectHTTPStatusError, match="Additional properties are not allowed"):
            client.create_flow_run_from_deployment(ours, job_variables={name: value})


def test_a_run_without_a_deployment_gets_nothing_of_what_it_chooses(server):
    """The server checks only runs of deployments; this is what the worker does."""
    build = ProcessJobConfiguration.from_template_and_values
    open_to_all, ours = asyncio.run(build(OPEN, CHOSEN)), asyncio.run(build(JOB_TEMPLATE, CHOSEN))
    assert open_to_all.command == "touch marker"
    assert (ours.command, ours.env, ours.working_dir) == (None, {}, None)


@pytest.mark.parametrize("before", [OPEN, {}])
def test_a_work_pool_of_an_earlier_version_is_limited(client, before, caplog):
    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", base_job_template=before))
    for _ in range(2):
        provision()
        assert client.read_work_pool(WORK_POOL).base_job_template == JOB_TEMPLATE
    assert not [record for record in caplog.records if record.name.startswith("lycoris")]


def test_a_template_of_the_user_s_is_kept_and_named(client, caplog):
    theirs = {"job_configuration": {"command": "{{ command }}"}, "variables": {"properties": {"command": {}}}}
    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", base_job_template=theirs))
    provision()
    assert client.read_work_pool(WORK_POOL).base_job_template == theirs
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("lycoris")]
    assert message.endswith("chooses its variables command.")


def deploy_file(client, flow, *schedules):
    """Do what `prefect deploy` does with a deployment and its automation, around which the server keeps changes."""
    before = read_changes(client)
    deployment = client.create_deployment(
        flow_id=flow,
        name="kept",
        schedules=[DeploymentScheduleCreate(schedule=each, active=False) for each in schedules],
    )
    for automation in client.read_automations_by_name("kept__automation_1"):
        client.delete_automation(automation.id)
    client.create_automation(AutomationCore(name="kept__automation_1", trigger=TRIGGER, actions=[DoNothing()]))
    restore_changes(client, before)
    return deployment


def minutes(count):
    """A schedule as a file has it: its interval counts from the moment it is read."""
    return IntervalSchedule(interval=timedelta(minutes=count))


def test_switches_and_schedules_of_the_user_s_outlive_a_restart(server):
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name(f"flow-{uuid.uuid4()}")
        deployment = deploy_file(client, flow, minutes(60))
        (first,) = client.read_deployment(deployment).schedules
        client.update_deployment_schedule(deployment, first.id, active=True)
        own = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * *"), active=True, parameters={"x": 1})
        client.create_deployment_schedules(deployment, [own])
        (automation,) = client.read_automations_by_name("kept__automation_1")
        client.pause_automation(automation.id)

        def state():
            schedules = client.read_deployment(deployment).schedules
            return {each.schedule.model_dump_json(include={"interval", "cron"}): each.active for each in schedules}

        for _ in range(2):
            assert deploy_file(client, flow, minutes(60)) == deployment
            assert state() == {'{"interval":3600.0}': True, '{"cron":"0 3 * * *"}': True}
            (automation,) = client.read_automations_by_name("kept__automation_1")
            assert not automation.enabled
        assert [each.parameters for each in client.read_deployment(deployment).schedules if each.parameters] == [
            {"x": 1}
        ]
        deploy_file(client, flow, minutes(30))  # the file has another schedule now
        assert state() == {'{"interval":1800.0}': False, '{"cron":"0 3 * * *"}': True}
