"""A temporary Prefect server for the duration of a run, unless the user has one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lycoris.errors import InputError

ENVIRONMENT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # what a server answers whose database restarts
    "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("prefect_logging.yml")),
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",  # after Ctrl-C; the system has freed them by then
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
PARENT_VARIABLE = "LYCORIS_PARENT_PID"
"""The environment variable that names the process with which a server exits, even if that is gone already."""
PARENT_EXIT_S = 2.0
"""How long a server outlives its parent at most."""
RESUME_HINT = "Finished work is saved; the same command resumes."
STARTUP_TIMEOUT_S = 180.0
"""How long the server may take to answer; its first start migrates a database."""


def configure_environment() -> None:
    """Set the environment variables that Prefect and MLflow read on import; those that the user set are unchanged."""
    for name, value in ENVIRONMENT_DEFAULTS.items():
        os.environ.setdefault(name, value)


def show_prefect_logs() -> None:
    """Let Prefect log to the terminal as it does by default; before Prefect is imported."""
    name = "PREFECT_LOGGING_SETTINGS_PATH"
    if os.environ.get(name) == ENVIRONMENT_DEFAULTS[name]:
        del os.environ[name]


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Provide the API of the user's Prefect server, or start a server on loopback for the duration of the block.

    The server runs in a session of its own, so that Ctrl-C does not stop it before the run, and exits with this
    process, however that ends.

    Args:
        home: The folder of the temporary server's database, unless the user set ``PREFECT_HOME``.

    Yields:
        The URL of the API; child processes find it in the environment.

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
    from prefect.settings import PREFECT_API_URL

    user_url = PREFECT_API_URL.value()
    if user_url:
        yield user_url
        return
    with _temporary_server(Path(home)) as url:
        yield url


@contextmanager
def _temporary_server(home: Path) -> Iterator[str]:
    from filelock import FileLock
    from prefect.context import refresh_global_settings_context
    from prefect.events.worker import EventsWorker

    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = home / "server.log"
    starting = FileLock(home / "starting.lock", poll_interval=0.2)
    starting.acquire()  # two servers that create one database at the same time corrupt it
    unfinished = _prepare_database(home)
    with open(log, "wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.runtime.prefect_server", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                PARENT_VARIABLE: str(os.getpid()),
            },
            cwd=Path(__file__).parent.parent.parent,
        )
    added = {"PREFECT_API_URL": url, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
    os.environ.update(added)  # nobody reads the logs of a temporary server
    refresh_global_settings_context()  # for all threads: one without a server would start a second
    try:
        try:
            if not wait_until_healthy(server, f"{url}/health", STARTUP_TIMEOUT_S):
                lines = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(f"The Prefect server did not start; `{log}` ends with: {' / '.join(lines)}")
            unfinished.unlink(missing_ok=True)
        finally:
            starting.release()
        yield url
        EventsWorker.drain_all(timeout=10)  # events that are not sent yet would raise errors later
    finally:
        for name in added:
            os.environ.pop(name, None)
        refresh_global_settings_context()
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _prepare_database(home: Path) -> Path:
    """Delete a database whose creation was interrupted, and mark one that is created now as unfinished.

    Returns:
        The marker file, to be deleted once the server answers.
    """
    database, unfinished = home / "prefect.db", home / "unfinished"
    if unfinished.exists():
        time.sleep(PARENT_EXIT_S)
        for file in home.glob(f"{database.name}*"):
            file.unlink(missing_ok=True)
    if not database.exists():
        unfinished.touch()
    return unfinished


def describe_server_error(error: BaseException | None) -> str | None:
    """Return a message if an error was caused by a Prefect server that stopped answering, else None."""
    import httpx
    from prefect.settings import PREFECT_API_URL

    while error is not None:
        if isinstance(error, httpx.TransportError | httpx.HTTPStatusError):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return (
                f"The Prefect server at `{PREFECT_API_URL.value()}` has not answered correctly for a minute "
                f"({reason}): check the server and its database. {RESUME_HINT}"
            )
        error = error.__cause__ or error.__context__
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(server: subprocess.Popen[bytes], url: str, timeout_s: float) -> bool:
    """Wait until a server answers; return False if its process ends before, or it takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def serve(port: int, host: str = "127.0.0.1") -> None:
    """Run a Prefect server until the parent process is gone."""
    parent = int(os.environ.get(PARENT_VARIABLE) or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host=host, port=port, log_level="error")


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:3])
