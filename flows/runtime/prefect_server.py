"""A Prefect server for as long as a run lasts, unless the user has one."""

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
PARENT_VARIABLE = "LYCORIS_STARTER"
"""The environment variable by which a server knows whose end is its own, even if that came before it looked."""
PARENT_POLL_S = 2.0  # seconds that a server lives at most once its starter is gone
RESUME_HINT = "What is finished is kept; the same command goes on from there."
STARTUP_TIMEOUT_S = 180.0  # seconds for the server to answer; its first start migrates a database


def configure_environment() -> None:
    """Settings that must stand in the environment before Prefect and MLflow are imported; the user's win."""
    for name, value in ENVIRONMENT_DEFAULTS.items():
        os.environ.setdefault(name, value)


def show_prefect_logs() -> None:
    """Let Prefect log to the terminal as it does by default; before Prefect is imported."""
    name = "PREFECT_LOGGING_SETTINGS_PATH"
    if os.environ.get(name) == ENVIRONMENT_DEFAULTS[name]:
        del os.environ[name]


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """The API of the user's Prefect server, or of one started on loopback for this block.

    The server is a process of its own session, so that Ctrl-C ends the run and not the server under it, and it
    ends by itself when this process does, however that dies.

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
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL

    given = PREFECT_API_URL.value()
    if given:
        yield given
        return
    from filelock import FileLock
    from prefect.events.worker import EventsWorker

    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = Path(home) / "server.log"
    starting = FileLock(Path(home) / "starting.lock", poll_interval=0.2)
    starting.acquire()  # two servers that make one database at the same time spoil it
    making = _prepare_database(Path(home))
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
    os.environ.update(added)  # nobody will read the logs of a server that goes away
    refresh_global_settings_context()  # for all threads: one that knows no server starts a second one
    try:
        try:
            _wait_until_healthy(server, url, log)
            making.unlink(missing_ok=True)
        finally:
            starting.release()
        yield url
        EventsWorker.drain_all(timeout=10)  # else they are lost, loudly, when the server goes
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
    """Remove a database whose making was killed, which keeps nothing yet, and mark one that is to be made now.

    Returns:
        The mark, to be removed once a server answers.
    """
    database, making = home / "prefect.db", home / "making"
    if making.exists():
        time.sleep(PARENT_POLL_S)
        for file in home.glob(f"{database.name}*"):
            file.unlink(missing_ok=True)
    if not database.exists():
        making.touch()
    return making


def describe_server_error(error: BaseException | None) -> str | None:
    """What to tell of an error that came from a Prefect server which does not answer as it should, else None."""
    import httpx
    from prefect.settings import PREFECT_API_URL

    while error is not None:
        if isinstance(error, httpx.TransportError | httpx.HTTPStatusError):
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            return (
                f"The Prefect server at `{PREFECT_API_URL.value()}` did not answer as it should, and went on so for a "
                f"minute ({said}): look at it, and at its database. {RESUME_HINT}"
            )
        error = error.__cause__ or error.__context__
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    said = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise RuntimeError(f"The Prefect server did not start; `{log}` ends with: {' / '.join(said)}")


def serve(port: int, host: str = "127.0.0.1") -> None:
    """Be a Prefect server, on loopback unless told otherwise, until the parent process is gone."""
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
