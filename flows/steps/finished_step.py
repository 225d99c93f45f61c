"""Steps whose work is finished: found by the flow's own process, shown by Prefect, and handed to no other process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar
from uuid import UUID, uuid4

from prefect import Task
from prefect._internal.engine import resolve_custom_task_run_name
from prefect._internal.uuid7 import uuid7
from prefect.client.schemas.objects import Constant, FlowRunResult, Parameter, TaskRun, TaskRunResult
from prefect.context import FlowRunContext, TagsContext
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.results import get_result_store
from prefect.states import Completed, State
from prefect.utilities.callables import get_call_parameters
from prefect.utilities.engine import (
    emit_task_run_state_change_event,
    get_state_for_result,
    link_state_to_task_run_result,
)

from tasks.artifacts import RunContext
from tasks.runtime import finished

ResultT = TypeVar("ResultT")


class FinishedStep(PrefectConcurrentFuture[ResultT]):
    """The future of a step whose work was finished before."""


def find_finished(
    task: Task[..., ResultT],
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    wait_for: Iterable[PrefectFuture[Any]] = (),
) -> FinishedStep[ResultT] | None:
    """Return a step whose work, and that of the steps it needs, is in the store; None if something is to be computed.

    Files are compared with their checksums, as by every other process. Machines that share no disk are not asked:
    their steps fetch what is finished.

    Args:
        task: Its first argument is the context of the run.
        arguments: Of the task; futures of finished steps stand for their results.
        options: Likewise, by name.
        wait_for: The steps that it waits for.
    """
    context = arguments[0] if arguments else None
    if not isinstance(context, RunContext) or context.artifact_store is not None:
        return None
    try:
        values, named = [_resolved(one) for one in arguments], {name: _resolved(one) for name, one in options.items()}
        for step in wait_for:
            _resolved(step)
        with finished.search() as reports:
            value = task.fn(*values, **named)
    except Exception:  # also an invalid input: the step itself reports it, as a failed run
        return None

    for report in reports:
        report()
    return record_finished(task, get_call_parameters(task.fn, tuple(arguments), dict(options)), value, wait_for)


def record_finished(
    task: Task[..., ResultT], parameters: Mapping[str, Any], value: ResultT, wait_for: Iterable[PrefectFuture[Any]] = ()
) -> FinishedStep[ResultT]:
    """Record a finished step in Prefect by one event, instead of one for each state that a running task goes through.

    Its state is `Cached`, and it depends on the steps whose results it takes.

    Args:
        task: Of the step.
        parameters: Of the task, by name; they may be futures.
        value: The result of the step.
        wait_for: The steps that it waits for.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run.id if context is not None and context.flow_run is not None else None
    state: State[Any] = Completed(name="Cached", data=get_result_store().create_result_record(value))
    step = TaskRun(
        id=uuid7(),
        name=resolve_custom_task_run_name(task, {name: _resolved(one) for name, one in parameters.items()}),
        flow_run_id=flow_run,
        task_key=task.task_key,
        dynamic_key=str(uuid4()),
        task_version=task.version,
        tags=sorted(task.tags | TagsContext.get().current_tags),
        task_inputs={name: _inputs(one) for name, one in {**parameters, "wait_for": list(wait_for)}.items()},
        expected_start_time=state.timestamp,
        start_time=state.timestamp,
        end_time=state.timestamp,
        state=state,
    )
    state.state_details.task_run_id, state.state_details.flow_run_id = step.id, flow_run
    emit_task_run_state_change_event(step, None, state)
    link_state_to_task_run_result(state, value)
    done = Future[Any]()
    done.set_result(state)
    future = FinishedStep[ResultT](step.id, done)
    future.wait()
    return future


def _inputs(value: Any) -> list[TaskRunResult | FlowRunResult | Parameter | Constant]:
    """The steps whose results an argument is or lists; those of its attributes are not looked for."""
    steps: list[UUID] = []
    for one in [value, *(value if isinstance(value, list | tuple) else ())]:
        if isinstance(one, PrefectFuture):
            steps.append(one.task_run_id)
        elif (linked := get_state_for_result(one)) is not None and linked[0].state_details.task_run_id is not None:
            steps.append(linked[0].state_details.task_run_id)
    return [TaskRunResult(id=step) for step in dict.fromkeys(steps)]


def _resolved(value: Any) -> Any:
    """Return an argument with the results of finished steps in place of their futures.

    Raises:
        NotFinishedError: One of the futures is that of a step which is not known to be finished.
    """
    if isinstance(value, FinishedStep):
        return value.result()
    if isinstance(value, PrefectFuture):
        raise finished.NotFinishedError
    return [_resolved(one) for one in value] if isinstance(value, list) else value
