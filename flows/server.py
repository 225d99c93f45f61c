"""A Prefect server for as long as a run lasts, unless the user has one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lycoris.errors import InputError

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # what a person must know, the flow says itself
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def quieten() -> None:
    """Settings that must stand in the environment before Prefect and MLflow are imported; the user's win."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """The API of the user's Prefect server, or of one started on loopback for this block.

    Args:
        home: keeps the temporary server's database, when the user set no ``PREFECT_HOME``.

    Yields:
        The API's address; child processes find it in the environment.

    Raises:
        InputError: `home` cannot be written.
    """
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        (Path(home) / ".probe").write_bytes(b"")
        (Path(home) / ".probe").unlink()
    except OSError as error:
        raise InputError(
            f"The output folder `{Path(home).parent}` cannot be written: {error.strerror}. "
            "Choose another with `--set output=FOLDER`."
        ) from error
    os.environ.setdefault("PREFECT_HOME", str(Path(home).resolve()))
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    given = PREFECT_API_URL.value()
    if given:
        yield given
        return
    from prefect.server.api.server import SubprocessASGIServer

    os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"  # nobody will read the logs of a server that goes away
    server = SubprocessASGIServer()
    server.start(timeout=120)
    os.environ["PREFECT_API_URL"] = server.api_url
    try:
        with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_LOGGING_TO_API_ENABLED: False}):
            yield server.api_url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        os.environ.pop("PREFECT_LOGGING_TO_API_ENABLED", None)
        server.stop()
