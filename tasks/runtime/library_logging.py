"""Levels of the loggers of libraries, the one place that makes them quiet.

transformers and diffusers take theirs from the environment (`flows.runtime.client_environment.ENVIRONMENT_DEFAULTS`),
and from `lycoris.pretrained.silence_transformers` while a model is loaded.
"""

from __future__ import annotations

import logging
import sys

LIBRARY_LEVELS = {
    "mlflow": {name: logging.CRITICAL for name in ("mlflow", "alembic", "urllib3.connectionpool")},
    "dvc": {"dvc": logging.WARNING},
    "distributed": {name: logging.CRITICAL for name in ("distributed", "distributed.client")},
    "concurrent": {"concurrent.futures": logging.CRITICAL},
}
"""Library -> logger -> level; CRITICAL where a library raises what it logs as an error."""


def quiet_library(name: str) -> None:
    """Set the levels of a library's loggers; after importing it, if it sets them itself.

    A handler of theirs whose stream was closed since the import writes to stderr: DVC raises what it cannot log.

    Args:
        name: in `LIBRARY_LEVELS`.
    """
    for logger, level in LIBRARY_LEVELS[name].items():
        logging.getLogger(logger).setLevel(level)
        for handler in logging.getLogger(logger).handlers:
            if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "closed", False):
                handler.stream = sys.stderr  # `setStream` flushes the closed one, which is an error
