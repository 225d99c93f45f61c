"""Telling the user that a Prefect server does not answer as it should, and is asked again."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.runtime import progress

RETRY_PATTERN = re.compile(r"(?:status code (?P<code>\d+)\. )?Another attempt will be made")
"""What Prefect's client logs, for developers only, before it asks again."""


class RetryLogFilter(logging.Filter):
    """Turns what Prefect's client logs when it asks again into a note, and keeps the rest of its whispers quiet.

    Attributes:
        place: where notes go; None tells nothing.
    """

    progress_channel: Path | progress.DaskRelay | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.DEBUG:
            return True
        found = RETRY_PATTERN.search(record.getMessage())
        if found is not None and self.progress_channel is not None:
            error = record.exc_info[1] if record.exc_info else None
            said = f"error {found['code']}" if found["code"] else type(error).__name__
            progress.message(
                self.progress_channel, f"The Prefect server does not answer as it should ({said}): it is asked again."
            )
        return False


_RETRY_FILTER = RetryLogFilter()
_INSTALL_LOCK = threading.Lock()


def install_retry_filter(place: Path | progress.DaskRelay | None) -> None:
    """From now on, note where this process's Prefect client asks again.

    Args:
        place: where steps are shown; the latest counts.
    """
    from prefect.logging import get_logger

    with _INSTALL_LOCK:
        client = get_logger("client")
        _RETRY_FILTER.progress_channel = place
        if _RETRY_FILTER not in client.filters:
            client.addFilter(_RETRY_FILTER)
            client.setLevel(logging.DEBUG)


@contextmanager
def report_retries(place: Path | progress.DaskRelay) -> Iterator[None]:
    """As `heard`, while the block runs."""
    install_retry_filter(place)
    try:
        yield
    finally:
        install_retry_filter(None)
