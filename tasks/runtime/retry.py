"""Waiting for a server that went away: what is asked of it is asked again until it answers."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from lycoris.errors import InputError
from lycoris.safety.redaction import redact

RETRY_TIMEOUT_S = 900.0
"""Seconds after which a server that does not answer ends the run."""
RETRY_INTERVAL_S = 5.0
"""Seconds between two tries."""
MLFLOW_MAX_RETRIES = "2"
"""How often MLflow itself asks again, unless the user says otherwise; with its own 7 it is mute for minutes."""

RESUME_HINT = "Everything finished before is kept; start the server and run again."


class HasUri(Protocol):
    """What has an address."""

    @property
    def uri(self) -> str: ...


ServerT = TypeVar("ServerT", bound=HasUri)
ActionParams = ParamSpec("ActionParams")
ResultT = TypeVar("ResultT")


def retry_while_unavailable(
    action: Callable[Concatenate[ServerT, ActionParams], ResultT],
) -> Callable[Concatenate[ServerT, ActionParams], ResultT]:
    """Make an action on a server wait while the server is away, and say so.

    The action is done again from its start: it must find what it has done already. The wrapped action raises
    `InputError` when the server has not answered for `PATIENCE` seconds.

    Args:
        action: its first argument is the server.
    """

    @functools.wraps(action)
    def waiting(place: ServerT, /, *arguments: ActionParams.args, **options: ActionParams.kwargs) -> ResultT:
        return retry_until_available(
            lambda: action(place, *arguments, **options),
            f"the tracking server {place.uri}",
            is_unavailable,
            _log,
            RESUME_HINT,
        )

    return waiting


def retry_until_available(
    action: Callable[[], ResultT],
    service: str,
    should_retry: Callable[[Exception], bool],
    on_message: Callable[[str], None],
    hint: str = "Everything finished before is kept; run again once it is there.",
) -> ResultT:
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
            if not should_retry(error):
                raise
            now = time.monotonic()
            if since is None:
                since = now
                on_message(f"{service} does not answer; it is waited for, {RETRY_TIMEOUT_S:.0f} s at most")
            elif now - since > RETRY_TIMEOUT_S:
                raise InputError(redact(f"{service[0].upper()}{service[1:]} does not answer. {hint}")) from error
            time.sleep(RETRY_INTERVAL_S)
        else:
            if since is not None:
                on_message(f"{service} answers again")
            return found


def is_unavailable(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a server could not be reached or answered for none."""
    from requests.exceptions import ConnectionError, RetryError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | RetryError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False


def _log(text: str) -> None:
    print(redact(f"tracking  {text}"), file=sys.stderr, flush=True)
