"""What does the steps of a flow: processes or threads of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import CancelledError, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.config.experiment import LOCAL_RUNNERS, Experiment
from lycoris.errors import InputError
from tasks.runtime.library_logging import quiet_library

if TYPE_CHECKING:
    from types import ModuleType

MAX_WAITING_STEPS = 4096
"""Steps that may wait for others at the same time; each takes a thread, most of them asleep."""
THREADS_PER_PROCESS = 4
"""Of one process, which does one heavy step at a time (`tasks.runtime.resources.turn`); the others wait, read and
write."""


def worker_count(experiment: Experiment) -> int:
    """How many steps go on side by side: one a core, one on a GPU, one in threads; unless the experiment says."""
    if experiment.runner == "threads":
        return 1
    if experiment.workers:
        return experiment.workers
    if experiment.runner not in LOCAL_RUNNERS:
        return _import_dask_runner().size(experiment.runner)
    import torch

    return 1 if torch.cuda.is_available() else max(1, len(os.sched_getaffinity(0)))


def create_task_runner(experiment: Experiment, progress_folder: Path) -> TaskRunner[Any]:
    """The task runner that an experiment names; a cluster is looked at before anything is handed to it.

    Args:
        experiment: of the flow.
        shown: the folder through which steps are shown.

    Raises:
        InputError: the extra is not installed, or the cluster cannot do the experiment's work.
    """
    if experiment.runner == "processes":
        return process_runner(worker_count(experiment))
    if experiment.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=THREADS_PER_PROCESS)
    return _import_dask_runner().cluster(experiment, progress_folder)


def process_runner(count: int) -> TaskRunner[Any]:
    """So many processes of this machine."""
    return ProcessPoolRunner(max_workers=count)


def has_requested_task_runner(experiment: Experiment) -> bool:
    """Whether the flow run around this call has the task runner that the experiment names."""
    context = FlowRunContext.get()
    if context is None:
        return True
    now = context.task_runner
    if experiment.runner == "processes":
        return isinstance(now, ProcessPoolTaskRunner) and now._max_workers == worker_count(experiment)
    if experiment.runner == "threads":
        return isinstance(now, ThreadPoolTaskRunner)
    return getattr(now, "address", None) == experiment.runner


def _import_dask_runner() -> ModuleType:
    try:
        from flows.runtime import dask_runner
    except ImportError as error:
        raise InputError(f"A Dask runner needs the extra `dask`: `pip install -e '.[dask]'` ({error}).") from error
    return dask_runner


def exit_with_parent() -> None:
    """From now on, end this process when the one that started it is gone, however that died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class ProcessPoolRunner(ProcessPoolTaskRunner):
    """Prefect's process pool, in which waiting costs no process, and which ends at once when the flow does.

    Its processes end with the one that started them; Python's own go on waiting for work when that was killed.

    Prefect gives as many threads to steps that wait for another's result as there are processes. When all of them
    wait for one slow step, nothing else is handed to the processes that are free.

    Prefect's own waits for every step in the queue, and steps that wait for the result of one that will never
    come wait for ever. What was half done is made again by the next run, from its last checkpoint.
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
            quiet_library("concurrent")  # callbacks that come too late
            processes = list((self._executor._processes or {}).values())
            if (queue := getattr(self._executor, "_call_queue", None)) is not None:
                queue.cancel_join_thread()  # what is on its way to them will never be read: wait for no pipe at exit
            for process in processes:
                process.kill()
            for process in processes:
                process.join(timeout=30)
            for future in self._submitted_futures:
                with suppress(InvalidStateError):
                    future.wrapped_future.wrapped_future.set_exception(CancelledError())
        super().__exit__(*exception)
