"""Search for finished work: a task that runs in a search finds its results in the store, and computes nothing.

The process of a flow searches before it hands a step to another process, so that a run whose work is all finished
starts no process and copies nothing between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_reports: ContextVar[list[Callable[[], None]] | None] = ContextVar("reports", default=None)
"""Within a search: what the step reports once it is known to be finished."""


class NotFinishedError(Exception):
    """The search has come to work that has to be computed."""


@contextmanager
def search() -> Iterator[list[Callable[[], None]]]:
    """Compute nothing in the block: `stop_search` raises an error where something would be computed.

    Yields:
        What is to be reported of the finished step, to be called by the caller.
    """
    reports: list[Callable[[], None]] = []
    token = _reports.set(reports)
    try:
        yield reports
    finally:
        _reports.reset(token)


def stop_search() -> None:
    """Called before something is computed.

    Raises:
        NotFinishedError: this is a search.
    """
    if _reports.get() is not None:
        raise NotFinishedError


def report(action: Callable[[], None]) -> None:
    """Report that a step is finished: now, or in a search after it, when all of the step is known to be finished."""
    reports = _reports.get()
    if reports is None:
        action()
    else:
        reports.append(action)
