"""Waiting for a server that went away: what is asked of it is asked again until it answers."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from lycoris.errors import InputError
from lycoris.safety.redaction import redacted

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
        return until_it_answers(
            lambda: action(place, *arguments, **options), f"the tracking server {place.uri}", is_away, _told, KEPT
        )

    return waiting


def until_it_answers(
    action: Callable[[], Found],
    name: str,
    away: Callable[[Exception], bool],
    tell: Callable[[str], None],
    then: str = "Everything finished before is kept; run again once it is there.",
) -> Found:
    """Do something, again and again while what it needs is away, and say so.

    Args:
        action: done from its start each time: it must find what it has done already.
        name: of what is waited for, as it stands within a sentence.
        away: whether an error says that it is away; any other is raised as it is.
        tell: called with one line when it went away and one when it is there again.
        then: what the user is to do where it stays away.

    Raises:
        InputError: it has not answered for `PATIENCE` seconds.
    """
    since: float | None = None
    while True:
        try:
            found = action()
        except Exception as error:
            if not away(error):
                raise
            now = time.monotonic()
            if since is None:
                since = now
                tell(f"{name} does not answer; it is waited for, {PATIENCE:.0f} s at most")
            elif now - since > PATIENCE:
                raise InputError(redacted(f"{name[0].upper()}{name[1:]} does not answer. {then}")) from error
            time.sleep(EVERY)
        else:
            if since is not None:
                tell(f"{name} answers again")
            return found


def is_away(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a server could not be reached or answered for none."""
    from requests.exceptions import ConnectionError, RetryError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | RetryError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(text: str) -> None:
    print(redacted(f"tracking  {text}"), file=sys.stderr, flush=True)
