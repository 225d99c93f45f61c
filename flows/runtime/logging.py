"""Show log records of the ``lycoris`` loggers as lines on standard error, and keep libraries quiet."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from lycoris.safety.redaction import printable, redact

TOPIC_WIDTH = 10
QUIET, NORMAL, VERBOSE = -1, 0, 1
_LEVELS = {QUIET: logging.WARNING, NORMAL: logging.INFO, VERBOSE: logging.DEBUG}
_TOPICS = {"lycoris.data": "data", "lycoris.tasks.retry": "tracking"}
"""Logger -> topic of its records, unless a record names another; all others are notes."""


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Prints each record as a line, its topic first; the same line of loggers without a topic only once."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; finished steps are shown by `tasks.runtime.progress`."""
        if record.name == "lycoris.steps":
            return
        line = self.format(record)
        if getattr(record, "topic", None) is None:
            if line in self._printed:
                return
            self._printed.add(line)
        self.stream = sys.stderr  # which progress bars replace
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The topic and the message, without secrets and control characters."""
        topic = getattr(record, "topic", None) or topic_of(record.name)
        return printable(redact(f"{topic:<{TOPIC_WIDTH}}{super().format(record)}"))


def topic_of(name: str) -> str:
    """The topic of a logger's records."""
    return next((topic for logger, topic in _TOPICS.items() if f"{name}.".startswith(f"{logger}.")), "note")


def configure_logging(verbosity: int | None = None) -> None:
    """Show the records of the ``lycoris`` loggers on standard error, from now on.

    Args:
        verbosity: `QUIET` shows warnings and errors, `NORMAL` information as well, `VERBOSE` everything; None keeps
            what was configured before, else `NORMAL`.
    """
    logger = logging.getLogger("lycoris")
    handler = next((each for each in logger.handlers if isinstance(each, ConsoleHandler)), None)
    if handler is not None and verbosity is None:
        return
    verbosity = NORMAL if verbosity is None else verbosity
    if handler is None:
        handler = ConsoleHandler()
        logger.addHandler(handler)
    handler.setLevel(_LEVELS[verbosity])
    logging.getLogger("lycoris.steps").setLevel(_LEVELS[verbosity])
    logger.setLevel(min(_LEVELS[verbosity], logging.INFO))
