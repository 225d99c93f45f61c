"""Steps whose work is finished: found by the flow's own process, shown by Prefect, and handed to no other process."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect import Task
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import State

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

    return show_finished(task, value, arguments, options, reports=reports, wait_for=wait_for)


def show_finished(
    task: Task[..., ResultT],
    value: ResultT,
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    *,
    reports: Iterable[Callable[[], None]] = (),
    wait_for: Iterable[PrefectFuture[Any]] = (),
) -> FinishedStep[ResultT]:
    """Run a finished step as a task that returns its result at once, so that Prefect shows it with its inputs.

    Args:
        task: Of the step.
        value: The result of the step.
        arguments: Of the task; they may be futures.
        options: Likewise, by name.
        reports: Called within the task, to whose log they write.
        wait_for: The steps that it waits for.
    """

    @functools.wraps(task.fn)
    def show(*_: Any, **__: Any) -> ResultT:
        for report in reports:
            report()
        return value

    shown = task.with_options()
    shown.fn = show
    state: State[Any] = shown(*arguments, return_state=True, wait_for=list(wait_for), **options)
    done = Future[Any]()
    done.set_result(state)
    step = FinishedStep[ResultT](cast(UUID, state.state_details.task_run_id), done)
    step.wait()
    return step


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
