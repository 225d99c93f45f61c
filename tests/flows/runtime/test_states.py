"""States of flow runs on a real Prefect server: failed parts are named, and a flow may change its task runner."""

import os
import re
from types import SimpleNamespace

import pytest
from prefect import flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.testing.utilities import prefect_test_harness

from flows.runtime.run_names import flow_run_name
from flows.runtime.states import failure_message, final_state, flow_result
from flows.runtime.task_runner import process_runner, use_task_runner

GOOD, BAD = {"label": "a"}, {"label": "b", "error": "ValueError: loss is not finite"}


@pytest.fixture(scope="module", autouse=True)
def server():
    with prefect_test_harness(server_startup_timeout=300):
        yield


@task
def current_process() -> int:
    return os.getpid()


@flow(name="evaluate parts")
def evaluate_parts(parts: list[dict[str, str]]) -> dict[str, int]:
    return final_state({"count": len(parts)}, parts, "adapters")


@flow(name="change the task runner", task_runner=process_runner(2))
def change_task_runner() -> dict[str, int]:
    with use_task_runner(ThreadPoolTaskRunner(max_workers=2)):
        return {"process": current_process.submit().result()}


def last_run(name):
    with get_client(sync_client=True) as client:
        return [run for run in client.read_flow_runs() if run.name == name]


def test_a_run_is_failed_if_all_parts_failed_and_has_its_result():
    for parts, name, message in (
        ([GOOD, GOOD], "Completed", None),
        ([GOOD, BAD], "Completed", "1 of 2 adapters failed: b: ValueError: loss is not finite."),
        ([BAD], "Failed", "1 of 1 adapters failed: b: ValueError: loss is not finite."),
    ):
        state = evaluate_parts.with_options(flow_run_name=f"parts {len(parts)} {name} {message}")(
            parts, return_state=True
        )
        assert flow_result(state) == {"count": len(parts)}
        (run,) = last_run(f"parts {len(parts)} {name} {message}")
        assert (run.state.name, run.state.message) == (name, message)


@pytest.mark.parametrize("experiment", [{"name": "mine"}, SimpleNamespace(name="mine"), {}])
def test_a_run_is_named_after_its_flow_and_experiment(experiment):
    @flow(name="named flow", flow_run_name=flow_run_name, validate_parameters=False)
    def named_flow(experiment) -> str:
        return runtime.flow_run.name

    expected = r"named flow · (mine · )?\d{4}-\d\d-\d\d \d\d:\d\d"
    name = named_flow(experiment)
    assert re.fullmatch(expected, name)
    assert ("mine" in name) == bool(experiment)


def test_an_error_of_a_flow_is_raised():
    @flow(name="raise an error")
    def raise_an_error() -> dict[str, int]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        flow_result(raise_an_error(return_state=True))


def test_a_message_counts_what_it_does_not_name():
    assert failure_message([BAD] * 7, "adapters").endswith("; and 2 more.")
    assert failure_message([GOOD], "adapters") == ""


def test_a_flow_run_that_changes_its_task_runner_stands_once():
    assert change_task_runner.with_options(flow_run_name="once")()["process"] == os.getpid()
    assert len(last_run("once")) == 1
    with get_client(sync_client=True) as client:
        assert sum(run.name.startswith("change") for run in client.read_flow_runs()) == 0
