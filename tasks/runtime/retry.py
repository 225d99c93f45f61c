"""Retry operations on a server while it does not answer."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from lycoris.errors import InputError
from lycoris.safety.redaction import redact

RETRY_TIMEOUT_S = 900.0
"""Seconds without an answer after which the run fails."""
RETRY_INTERVAL_S = 5.0
"""Seconds between two attempts."""
MLFLOW_MAX_RETRIES = "2"
"""Retries by MLflow's own client, unless the user sets them; with its default of 7 it is silent for minutes."""
RESUME_HINT = "Finished work is saved; start the server and run again."

logger = logging.getLogger("lycoris.tasks.retry")


class HasUri(Protocol):
    """Anything with an address."""

    @property
    def uri(self) -> str: ...


ServerT = TypeVar("ServerT", bound=HasUri)
ActionParams = ParamSpec("ActionParams")
ResultT = TypeVar("ResultT")


def retry_while_unavailable(
    action: Callable[Concatenate[ServerT, ActionParams], ResultT],
) -> Callable[Concatenate[ServerT, ActionParams], ResultT]:
    """Decorate an operation on a tracking server: it is retried, and logged, while the server does not answer.

    Each retry starts from the beginning, so the operation must find what it has already done. The decorated operation
    raises `InputError` if the server has not answered for `RETRY_TIMEOUT_S` seconds.

    Args:
        action: takes the server as its first argument.
    """

    @functools.wraps(action)
    def retrying(server: ServerT, /, *arguments: ActionParams.args, **options: ActionParams.kwargs) -> ResultT:
        return retry_until_available(
            lambda: action(server, *arguments, **options),
            f"the tracking server {redact(server.uri)}",
            is_unavailable,
            RESUME_HINT,
        )

    return retrying


def retry_until_available(
    action: Callable[[], ResultT],
    service: str,
    should_retry: Callable[[Exception], bool],
    hint: str = "Finished work is saved; run again when it is available.",
) -> ResultT:
    """Call a function, and again while the service it needs does not answer.

    Args:
        action: starts from the beginning each time, so it must find what it has already done.
        service: name of the service, as it stands within a sentence.
        should_retry: whether an error says that the service does not answer; any other error is raised.
        hint: what the user can do if it never answers.

    Raises:
        InputError: the service has not answered for `RETRY_TIMEOUT_S` seconds.
    """
    since: float | None = None
    while True:
        try:
            result = action()
        except Exception as error:
            if not should_retry(error):
                raise
            now = time.monotonic()
            if since is None:
                since = now
                logger.warning("%s does not answer; retrying for at most %.0f s", service, RETRY_TIMEOUT_S)
            elif now - since > RETRY_TIMEOUT_S:
                raise InputError(redact(f"{service[0].upper()}{service[1:]} does not answer. {hint}")) from error
            time.sleep(RETRY_INTERVAL_S)
        else:
            if since is not None:
                logger.info("%s answers again", service)
            return result


def is_unavailable(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that a server could not be reached or gave no answer."""
    from requests.exceptions import ConnectionError, RetryError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | RetryError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False
