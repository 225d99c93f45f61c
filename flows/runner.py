"""The task runner of one machine: processes that stop at once when the person who started them says so."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner

WAITING = 4096
"""Steps that may wait for others at the same time; each takes a thread, most of them asleep."""


class Workers(ProcessPoolTaskRunner):
    """Prefect's process pool, in which waiting costs no process, and which ends at once when the flow does.

    Prefect gives as many threads to steps that wait for another's result as there are processes. When all of them
    wait for one slow step, nothing else is handed to the processes that are free.

    Prefect's own waits for every step in the queue, and steps that wait for the result of one that will never
    come wait for ever. What was half done is made again by the next run, from its last checkpoint.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
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
            for process in processes:
                process.kill()
            for process in processes:
                process.join(timeout=5)
            for future in self._handed:
                with suppress(InvalidStateError):
                    future.wrapped_future.wrapped_future.set_exception(CancelledError())
        super().__exit__(*exception)
