"""Typed futures of the steps of a flow, and the root cause when one of them fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.exceptions import UpstreamTaskError
from prefect.futures import PrefectFuture

from flows.runtime.client_environment import RESUME_HINT
from flows.steps.finished_step import find_finished
from lycoris.errors import InputError
from tasks.artifacts import Artifact
from tasks.score import Scores
from tasks.trainings import TrainedAdapter

ParamsT = ParamSpec("ParamsT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class TrainingFutures:
    """The training of an adapter, and the steps it waits for: that of its co-training group, if any."""

    adapter: PrefectFuture[TrainedAdapter]
    group: tuple[PrefectFuture[None], ...] = ()


@dataclass(frozen=True)
class BaseFutures:
    """What the base generates for the prompts of a candidate, in parts that candidates share, and its features."""

    images: tuple[PrefectFuture[Artifact], ...]
    features: PrefectFuture[Artifact]


@dataclass(frozen=True)
class EvaluationFutures:
    """The steps that evaluate one adapter.

    Attributes:
        references: resize mode -> features of the dataset's images.
        base: images and features of the base.
        training: of the adapter, if it is trained by this flow.
        images: generated with the adapter.
        features: of these images.
        scores: resize mode -> scores; empty if the candidate is not scored.
    """

    references: Mapping[str, PrefectFuture[Artifact]]
    base: BaseFutures
    training: TrainingFutures | None
    images: PrefectFuture[Artifact]
    features: PrefectFuture[Artifact]
    scores: Mapping[str, PrefectFuture[Scores]]

    @property
    def upstream(self) -> list[PrefectFuture[Any]]:
        """The steps that the scores need, in the order of the data flow."""
        upstream: list[PrefectFuture[Any]] = [*self.references.values(), *self.base.images, self.base.features]
        if self.training is not None:
            upstream += [*self.training.group, self.training.adapter]
        return [*upstream, self.images, self.features]


def submit(
    task: Task[ParamsT, ResultT],
    *arguments: Any,
    wait_for: Sequence[PrefectFuture[Any]] = (),
    **options: Any,
) -> PrefectFuture[ResultT]:
    """Submit a task, whose arguments may be futures, to the flow's task runner, unless its work is finished.

    The task must compute through `tasks.runtime.cache` only: what it does beside is done in this process as well, where
    finished work is looked for.
    """
    found = find_finished(task, arguments, options, wait_for)
    if found is not None:
        return found
    return task.submit(*arguments, return_state=False, wait_for=list(wait_for), **options)


def result_or_error(future: PrefectFuture[ResultT]) -> ResultT | Exception:
    """A step's result, or the error that it, or the cluster that should have run it, ended with."""
    try:
        return cast("ResultT | Exception", future.result(raise_on_failure=False))
    except Exception as error:
        return error


def root_cause(error: Exception, upstream: Iterable[PrefectFuture[Any]] = ()) -> str:
    """Describe the first error among the steps that a failed step needed, else its own."""
    for future in upstream:
        result = result_or_error(future)
        if isinstance(result, Exception) and not isinstance(result, UpstreamTaskError):
            error = result
            break
    if "scheduler-connection-lost" in str(error):
        return f"The connection to the Dask scheduler was lost. {RESUME_HINT}"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
