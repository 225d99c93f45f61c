"""Forward log records of the ``lycoris`` loggers: to the process that shows a run, and to Prefect's run log."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger
from prefect.logging.handlers import APILogHandler

from lycoris.safety.redaction import RedactingFilter
from tasks.runtime.progress import ProgressChannel, publish

RETRY_PATTERN = re.compile(r"(?:status code (?P<code>\d+)\. )?Another attempt will be made")
"""What Prefect's client logs, at level DEBUG, before it retries."""
_RECORD_FIELDS = ("name", "levelno", "levelname", "msg", "created", "topic")

logger = logging.getLogger("lycoris.tasks.prefect")


class RunLogHandler(APILogHandler):
    """Sends records to the log of the Prefect run around them; outside a run it ignores them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, unless another process has sent it."""
        from prefect.context import get_run_context

        if getattr(record, "forwarded", False):
            return
        try:
            get_run_context()
        except MissingContextError:
            return
        super().emit(record)


class ChannelHandler(logging.Handler):
    """Sends records to the process that shows the run.

    Attributes:
        channel: the latest one connected; None sends nothing.
    """

    channel: ProgressChannel = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, unless another process has sent it or it is about a step, which is shown anyway."""
        if self.channel is None or getattr(record, "forwarded", False) or record.name == "lycoris.steps":
            return
        values = {name: getattr(record, name, None) for name in _RECORD_FIELDS}
        publish(self.channel, "log", {**values, "msg": self.format(record)})


class RetryLogFilter(logging.Filter):
    """Logs that Prefect's client retries, and drops the client's other debug messages.

    Attributes:
        active: whether retries are logged.
    """

    active: bool = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep a record of Prefect's client."""
        if record.levelno > logging.DEBUG:
            return True
        match = RETRY_PATTERN.search(record.getMessage())
        if match is not None and self.active:
            error = record.exc_info[1] if record.exc_info else None
            reason = f"error {match['code']}" if match["code"] else type(error).__name__
            logger.warning("The Prefect server does not answer as expected (%s); retrying.", reason)
        return False


_RUN_LOG_HANDLER = RunLogHandler()
_CHANNEL_HANDLER = ChannelHandler()
_RETRY_FILTER = RetryLogFilter()
_INSTALL_LOCK = threading.Lock()


def connect(channel: ProgressChannel) -> None:
    """From now on, forward what this process logs, and log where its Prefect client retries.

    Args:
        channel: to the process that shows the run; in that process itself nothing needs to be sent.
    """
    from prefect.logging.handlers import PrefectConsoleHandler

    is_own = isinstance(channel, Path) and channel.name == str(os.getpid())
    with _INSTALL_LOCK:
        _CHANNEL_HANDLER.channel = None if is_own else channel
        _RETRY_FILTER.active = True
        ours = logging.getLogger("lycoris")
        if _RUN_LOG_HANDLER in ours.handlers:
            return
        for own in (_RUN_LOG_HANDLER, _CHANNEL_HANDLER):
            own.addFilter(RedactingFilter())
        ours.addHandler(_RUN_LOG_HANDLER)
        ours.addHandler(_CHANNEL_HANDLER)
        if ours.level == logging.NOTSET:
            ours.setLevel(logging.INFO)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, PrefectConsoleHandler):  # which would print them a second time
                handler.addFilter(lambda record: not record.name.startswith("lycoris."))
        client = get_logger("client")
        client.addFilter(_RETRY_FILTER)
        client.setLevel(logging.DEBUG)


@contextmanager
def connected(channel: ProgressChannel) -> Iterator[None]:
    """Forward what this process logs while the block runs."""
    connect(channel)
    try:
        yield
    finally:
        _CHANNEL_HANDLER.channel = None
        _RETRY_FILTER.active = False
