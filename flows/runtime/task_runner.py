"""What does the steps of a flow: processes or threads of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from concurrent.futures import CancelledError, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.config.experiment import RUNNERS, Experiment
from lycoris.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

WAITING = 4096
"""Steps that may wait for others at the same time; each takes a thread, most of them asleep."""
THREADS = 4
"""Of one process, which does one heavy step at a time (`tasks.runtime.resources.turn`); the others wait, read and write."""


def workers(experiment: Experiment) -> int:
    """How many steps go on side by side: one a core, one on a GPU, one in threads; unless the experiment says."""
    if experiment.runner == "threads":
        return 1
    if experiment.workers:
        return experiment.workers
    if experiment.runner not in RUNNERS:
        return _cluster().size(experiment.runner)
    import torch

    return 1 if torch.cuda.is_available() else max(1, len(os.sched_getaffinity(0)))


def runner(experiment: Experiment, shown: Path) -> TaskRunner[Any]:
    """The task runner that an experiment names; a cluster is looked at before anything is handed to it.

    Args:
        experiment: of the flow.
        shown: the folder through which steps are shown.

    Raises:
        InputError: the extra is not installed, or the cluster cannot do the experiment's work.
    """
    if experiment.runner == "processes":
        return processes(workers(experiment))
    if experiment.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=THREADS)
    return _cluster().cluster(experiment, shown)


def processes(count: int) -> TaskRunner[Any]:
    """So many processes of this machine."""
    return Workers(max_workers=count)


def runs_as_asked(experiment: Experiment) -> bool:
    """Whether the flow run around this call has the task runner that the experiment names."""
    context = FlowRunContext.get()
    if context is None:
        return True
    now = context.task_runner
    if experiment.runner == "processes":
        return isinstance(now, ProcessPoolTaskRunner) and now._max_workers == workers(experiment)
    if experiment.runner == "threads":
        return isinstance(now, ThreadPoolTaskRunner)
    return getattr(now, "address", None) == experiment.runner


def _cluster() -> ModuleType:
    try:
        from flows.runtime import dask_runner
    except ImportError as error:
        raise InputError(f"A Dask runner needs the extra `dask`: `pip install -e '.[dask]'` ({error}).") from error
    return dask_runner


def end_with_parent() -> None:
    """From now on, end this process when the one that started it is gone, however that died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Workers(ProcessPoolTaskRunner):
    """Prefect's process pool, in which waiting costs no process, and which ends at once when the flow does.

    Its processes end with the one that started them; Python's own go on waiting for work when that was killed.

    Prefect gives as many threads to steps that wait for another's result as there are processes. When all of them
    wait for one slow step, nothing else is handed to the processes that are free.

    Prefect's own waits for every step in the queue, and steps that wait for the result of one that will never
    come wait for ever. What was half done is made again by the next run, from its last checkpoint.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"initializer": end_with_parent, **options})
        self._handed: list[Any] = []

    def __enter__(self) -> Any:
        super().__enter__()
        if self._resolver_executor is not None:
            self._resolver_executor.shutdown(wait=False)
        self._resolver_executor = ThreadPoolExecutor(max_workers=WAITING)
        return self

    def submit(self, *arguments: Any, **options: Any) -> Any:
        future = super().submit(*arguments, **options)
        self._handed.append(future)
        return future

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is not None and self._executor is not None:
            logging.getLogger("concurrent.futures").setLevel(logging.CRITICAL)  # callbacks that come too late
            processes = list((self._executor._processes or {}).values())
            if (queue := getattr(self._executor, "_call_queue", None)) is not None:
                queue.cancel_join_thread()  # what is on its way to them will never be read: wait for no pipe at exit
            for process in processes:
                process.kill()
            for process in processes:
                process.join(timeout=30)
            for future in self._handed:
                with suppress(InvalidStateError):
                    future.wrapped_future.wrapped_future.set_exception(CancelledError())
        super().__exit__(*exception)
