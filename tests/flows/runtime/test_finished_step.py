"""A step whose work is finished is shown by Prefect with its name, its log and the steps whose results it takes."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.runtime import flow_run, task_run

from flows.steps.finished_step import FinishedStep
from flows.steps.futures import submit
from tasks.artifacts import RunContext
from tasks.runtime import finished

REPORTED_BY: dict[str, str | None] = {}
"""Label of a step -> the task run that reported it."""


@task(name="double", task_run_name="double {label}")
def double(context: RunContext, label: str, values: list[int]) -> list[int]:
    finished.report(lambda: REPORTED_BY.update({label: task_run.id}))
    return [2 * value for value in values]


@task(name="nothing", task_run_name="nothing {label}")
def nothing(context: RunContext, label: str) -> None:
    pass


def test_finished_steps_are_shown_with_names_states_inputs_and_reports(server: str, tmp_path: Path) -> None:
    context = RunContext(tmp_path / "store")

    @flow
    def work() -> str:
        first = submit(double, context, "first", [1, 2])
        waited = submit(nothing, context, "waited")
        second = submit(double, context, "second", first, wait_for=[waited])
        assert all(isinstance(one, FinishedStep) for one in (first, waited, second))
        assert (first.result(), waited.result(), second.result()) == ([2, 4], None, [4, 8])
        return str(flow_run.id)

    run = work()
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 60
        steps = {}
        while [step.state_name for step in steps.values()].count("Completed") < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
            steps = {step.name: step for step in found}
    assert {name: step.state_name for name, step in steps.items()} == dict.fromkeys(
        ("double first", "nothing waited", "double second"), "Completed"
    )
    assert {label: str(steps[f"double {label}"].id) for label in ("first", "second")} == REPORTED_BY
    inputs = {name: [one.id for one in own] for name, own in steps["double second"].task_inputs.items() if own}
    assert inputs == {"values": [steps["double first"].id], "wait_for": [steps["nothing waited"].id]}
