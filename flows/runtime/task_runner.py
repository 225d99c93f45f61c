"""Task runners: processes or threads of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import CancelledError, InvalidStateError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.config.experiment import LOCAL_RUNNERS, Experiment
from lycoris.errors import InputError
from tasks.runtime.library_logging import quiet_library

GPUS = Path("/proc/driver/nvidia/gpus")
"""Has an entry for each GPU; reading it needs no CUDA context, and no import of torch."""
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
MAX_WAITING_STEPS = 4096
"""How many steps may wait for others at the same time; each occupies a thread, most of which sleep."""
THREADS_PER_PROCESS = 4
"""Threads of a process, which runs one heavy step at a time (`tasks.runtime.resources`); the others do input/output."""


def worker_count(experiment: Experiment) -> int:
    """Return how many steps run in parallel: as the experiment says; by default one for each core or each GPU.

    GPUs that train each adapter together have one step.
    """
    if experiment.runner == "threads":
        return 1
    if experiment.workers:
        return experiment.workers
    if experiment.runner not in LOCAL_RUNNERS:
        with _dask_extra():
            from flows.runtime.dask_runner import cluster_slots
        return cluster_slots(experiment.runner)
    import torch

    if torch.cuda.is_available():
        return 1 if experiment.gpus is not None else max(1, torch.cuda.device_count())
    return max(1, len(os.sched_getaffinity(0)))


def create_task_runner(experiment: Experiment, progress_folder: Path) -> TaskRunner[Any]:
    """Return the task runner that an experiment names; a cluster is checked first.

    Args:
        experiment: The experiment of the flow.
        progress_folder: The folder through which steps report their progress.

    Raises:
        InputError: The extra `dask` is not installed, or the cluster cannot run the experiment.
    """
    if experiment.runner == "processes":
        return process_runner(worker_count(experiment))
    if experiment.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=THREADS_PER_PROCESS)
    with _dask_extra():
        from flows.runtime.dask_runner import create_dask_runner
    return create_dask_runner(experiment, progress_folder)


def process_runner(count: int) -> TaskRunner[Any]:
    """Return a task runner with a number of processes on this machine."""
    return ProcessPoolRunner(max_workers=count, initializer=start_worker, initargs=(count,))


def has_requested_task_runner(experiment: Experiment) -> bool:
    """Whether the current flow run has the task runner that the experiment names."""
    context = FlowRunContext.get()
    if context is None:
        return True
    current = context.task_runner
    if experiment.runner == "processes":
        return isinstance(current, ProcessPoolTaskRunner) and current._max_workers == worker_count(experiment)
    if experiment.runner == "threads":
        return isinstance(current, ThreadPoolTaskRunner)
    return getattr(current, "address", None) == experiment.runner


@contextmanager
def use_task_runner(runner: TaskRunner[Any]) -> Iterator[None]:
    """Submit the steps of the block to another task runner than the one that the current flow run was started with."""
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("A task runner is used within a flow run.")
    with runner, context.model_copy(update={"task_runner": runner}):
        yield


@contextmanager
def _dask_extra() -> Iterator[None]:
    """Name the extra that is missing if an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"A Dask runner needs the extra `dask`: `pip install 'lycoris-pipeline[dask]'` ({error})."
        ) from error


def exit_with_parent() -> None:
    """Exit this process as soon as its parent process is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(count: int) -> None:
    """Prepare a process of a pool of `count`: several of them work on a GPU each, as far as there are some."""
    exit_with_parent()
    if count > 1:
        number = int(multiprocessing.current_process().name.rpartition("-")[2])
        assign_gpu(os.environ, number - 1, len(list(GPUS.glob("*"))))


def assign_gpu(environment: MutableMapping[str, str], worker: int, gpus: int) -> None:
    """Let a process see one of several GPUs, before it has used any.

    Args:
        environment: of the process.
        worker: its number, from 0.
        gpus: how many this machine has; not all need be visible.
    """
    visible = environment.get(VISIBLE_GPUS)
    names = (
        [str(number) for number in range(gpus)] if visible is None else [name for name in visible.split(",") if name]
    )
    if len(names) > 1:
        environment[VISIBLE_GPUS] = names[worker % len(names)]


class ProcessPoolRunner(ProcessPoolTaskRunner):
    """Prefect's process pool, changed in three ways.

    - Its processes exit with their parent; Python's own keep waiting for work after the parent was killed.
    - Steps that wait for results of others do not block free processes: Prefect has as many threads for waiting steps
      as processes, so that several steps waiting for a slow one would keep all other work from starting.
    - If the flow fails, it stops at once; Prefect's runner waits for every queued step, and for ever for a step whose
      input never arrives. The next run resumes interrupted trainings from their last checkpoint.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"initializer": exit_with_parent, **options})
        self._submitted_futures: list[Any] = []

    def __enter__(self) -> Any:
        super().__enter__()
        if self._resolver_executor is not None:
            self._resolver_executor.shutdown(wait=False)
        self._resolver_executor = ThreadPoolExecutor(max_workers=MAX_WAITING_STEPS)
        return self

    def submit(self, *arguments: Any, **options: Any) -> Any:
        future = super().submit(*arguments, **options)
        self._submitted_futures.append(future)
        return future

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is not None and self._executor is not None:
            quiet_library("concurrent")  # its callbacks fail after the shutdown
            processes = list((self._executor._processes or {}).values())
            if (queue := getattr(self._executor, "_call_queue", None)) is not None:
                queue.cancel_join_thread()  # nobody reads the pipe any more: do not wait for it at exit
            for process in processes:
                process.kill()
            for process in processes:
                process.join(timeout=30)
            for future in self._submitted_futures:
                with suppress(InvalidStateError):
                    future.wrapped_future.wrapped_future.set_exception(CancelledError())
        super().__exit__(*exception)
