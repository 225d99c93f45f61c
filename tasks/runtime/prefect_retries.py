"""Telling the user that a Prefect server does not answer as it should, and is asked again."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.runtime import progress

AGAIN = re.compile(r"(?:status code (?P<code>\d+)\. )?Another attempt will be made")
"""What Prefect's client logs, for developers only, before it asks again."""


class Listener(logging.Filter):
    """Turns what Prefect's client logs when it asks again into a note, and keeps the rest of its whispers quiet.

    Attributes:
        place: where notes go; None tells nothing.
    """

    place: Path | progress.Relay | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.DEBUG:
            return True
        found = AGAIN.search(record.getMessage())
        if found is not None and self.place is not None:
            error = record.exc_info[1] if record.exc_info else None
            said = f"error {found['code']}" if found["code"] else type(error).__name__
            progress.note(self.place, f"The Prefect server does not answer as it should ({said}): it is asked again.")
        return False


_LISTENER = Listener()
_ONCE = threading.Lock()


def heard(place: Path | progress.Relay | None) -> None:
    """From now on, note where this process's Prefect client asks again.

    Args:
        place: where steps are shown; the latest counts.
    """
    from prefect.logging import get_logger

    with _ONCE:
        client = get_logger("client")
        _LISTENER.place = place
        if _LISTENER not in client.filters:
            client.addFilter(_LISTENER)
            client.setLevel(logging.DEBUG)


@contextmanager
def noted(place: Path | progress.Relay) -> Iterator[None]:
    """As `heard`, while the block runs."""
    heard(place)
    try:
        yield
    finally:
        heard(None)
