"""Waiting for a tracking server that went away: what is asked of it is asked again until it answers."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from lycoris.errors import InputError
from lycoris.redaction import redacted

PATIENCE = 900.0
"""Seconds after which a server that does not answer ends the run."""
EVERY = 5.0
"""Seconds between two tries."""
TRIES = "2"
"""How often MLflow itself asks again, unless the user says otherwise; with its own 7 it is mute for minutes."""

KEPT = "Everything finished before is kept; start the server and run again."


class Addressed(Protocol):
    """What has an address."""

    @property
    def uri(self) -> str: ...


Where = TypeVar("Where", bound=Addressed)
Rest = ParamSpec("Rest")
Found = TypeVar("Found")


def patient(action: Callable[Concatenate[Where, Rest], Found]) -> Callable[Concatenate[Where, Rest], Found]:
    """Make an action on a server wait while the server is away, and say so.

    The action is done again from its start: it must find what it has done already. The wrapped action raises
    `InputError` when the server has not answered for `PATIENCE` seconds.

    Args:
        action: its first argument is the server.
    """

    @functools.wraps(action)
    def waiting(place: Where, /, *arguments: Rest.args, **options: Rest.kwargs) -> Found:
        away: float | None = None
        while True:
            try:
                found = action(place, *arguments, **options)
            except Exception as error:
                if not is_away(error):
                    raise
                now = time.monotonic()
                if away is None:
                    away = now
                    _told(
                        f"tracking  the server {place.uri} does not answer; it is waited for, {PATIENCE:.0f} s at most"
                    )
                elif now - away > PATIENCE:
                    raise InputError(redacted(f"The tracking server {place.uri} does not answer. {KEPT}")) from error
                time.sleep(EVERY)
            else:
                if away is not None:
                    _told(f"tracking  {place.uri} answers again, after {time.monotonic() - away:.0f} s")
                return found

    return waiting


def is_away(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a server could not be reached or answered for none."""
    from requests.exceptions import ConnectionError, RetryError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | RetryError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(text: str) -> None:
    print(redacted(text), file=sys.stderr, flush=True)
