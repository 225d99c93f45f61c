"""A temporary Prefect server for the duration of a run, unless the user has one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.runtime.api_password import CLIENT_VARIABLE, PASSWORD_FILE, SERVER_VARIABLE, generate_password
from flows.runtime.client_environment import RESUME_HINT
from lycoris.cache.atomic import check_writable, open_log
from lycoris.errors import InputError
from lycoris.safety.request_guard import Application, Message, Receive, RequestGuard, Send, allowed_hosts, split_list

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("lycoris.flows.server")

PARENT_VARIABLE = "LYCORIS_PARENT_PID"
"""The environment variable that names the process with which a server exits, even if that is gone already."""
ORIGINS_VARIABLE = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
"""Prefect's setting of the origins, besides its own, whose pages may use the server."""
PARENT_EXIT_S = 2.0
"""How long a server outlives its parent at most."""
STARTUP_TIMEOUT_S = 180.0
"""How long the server may take to answer; its first start migrates a database."""
DRAIN_TIMEOUT_S, STOP_TIMEOUT_S = 20.0, 30.0
"""How long the server may store events at its end, and how long it may take to end in all."""


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
        InputError: `home` cannot be written, or the user's server does not answer or refuses this client.
    """
    try:
        check_writable(Path(home))
    except OSError as error:
        raise InputError(
            f"The output folder `{Path(home).parent}` cannot be written: {error.strerror}. "
            "Choose another with `--set output=FOLDER`."
        ) from error
    os.environ.setdefault("PREFECT_HOME", str(Path(home).resolve()))
    from prefect.settings import PREFECT_API_URL

    user_url = PREFECT_API_URL.value()
    if user_url:
        _check_access()
        yield user_url
        return
    with _temporary_server(Path(home)) as url:
        yield url


@contextmanager
def _temporary_server(home: Path) -> Iterator[str]:
    from filelock import FileLock
    from prefect.context import refresh_global_settings_context
    from prefect.events.worker import EventsWorker

    port, password = _free_port(), generate_password()
    url = f"http://127.0.0.1:{port}/api"
    log = home / "server.log"
    logger.info("starting a local server; on a busy machine this takes minutes", extra={"topic": "start"})
    starting = FileLock(home / "starting.lock", poll_interval=0.2)
    starting.acquire()  # two servers that create one database at the same time corrupt it
    unfinished = _prepare_database(home)
    with open_log(log) as stream:
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
                SERVER_VARIABLE: password,
            },
            cwd=Path(__file__).parent.parent.parent,
        )
    added = {"PREFECT_API_URL": url, CLIENT_VARIABLE: password}
    added["PREFECT_LOGGING_TO_API_ENABLED"] = "false"  # nobody reads the logs of a temporary server
    previous = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
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
        for name, value in previous.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        refresh_global_settings_context()
        server.terminate()
        try:
            server.wait(timeout=STOP_TIMEOUT_S)
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
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _REFUSED:
            address, refused = PREFECT_API_URL.value(), _REFUSED[error.response.status_code]
            if address and str(error.request.url).startswith(address):
                return f"The Prefect server at `{address}` {refused(error.response)}"
        if isinstance(error, httpx.TransportError | httpx.HTTPStatusError):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return (
                f"The Prefect server at `{PREFECT_API_URL.value()}` has not answered correctly for a minute "
                f"({reason}): check the server and its database. {RESUME_HINT}"
            )
        error = error.__cause__ or error.__context__
    return None


def _check_access() -> None:
    """Raise an error that says what is wrong if the user's server does not answer, or refuses this client."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except Exception as error:
        if (message := describe_server_error(error)) is None:
            raise
        raise InputError(message) from error


def _describe_wrong_password(_: httpx.Response) -> str:
    return (
        f"does not accept the password: set {CLIENT_VARIABLE} to that of the server, for `lycoris server` "
        f'`export {CLIENT_VARIABLE}="$(cat runs/server/{PASSWORD_FILE})"`.'
    )


def _describe_refusal(response: httpx.Response) -> str:
    try:
        return f"refuses this client: {response.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"refuses this client (error {response.status_code})."


_REFUSED = {401: _describe_wrong_password, 403: _describe_refusal}
"""HTTP status -> what is wrong, to follow "The Prefect server at ..."."""


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


def guarded_app() -> RequestGuard:
    """Return Prefect's web application behind a guard against other web pages.

    It ends after it has stored the events that it received, so that the last steps of a short run are not lost.
    """
    os.environ.setdefault(ORIGINS_VARIABLE, "")  # Prefect's default allows the pages of every origin
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_SERVER_CORS_ALLOWED_ORIGINS

    application = store_before_shutdown(create_app(), _unstored_events)
    return RequestGuard(application, allowed_hosts(os.environ), split_list(PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value()))


def store_before_shutdown(application: Application, count_unstored: Callable[[], int]) -> Application:
    """Return an application whose shutdown waits, at most `DRAIN_TIMEOUT_S`, until nothing is unstored."""

    async def waiting(scope: Message, receive: Receive, send: Send) -> None:
        async def receive_late() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                deadline = time.monotonic() + DRAIN_TIMEOUT_S
                while count_unstored() and time.monotonic() < deadline:
                    await asyncio.sleep(0.02)
            return message

        await application(scope, receive_late if scope["type"] == "lifespan" else receive, send)

    return waiting


def _unstored_events() -> int:
    """Return how many events wait in the queue of Prefect's recorder of steps, which has no public view of it."""
    from prefect.server.utilities.messaging.memory import Topic

    return sum(each._queue.qsize() + each._retry.qsize() for each in Topic.by_name("events")._subscriptions)


def serve(port: int, host: str = "127.0.0.1") -> None:
    """Run a Prefect server until the parent process is gone."""
    parent = int(os.environ.get(PARENT_VARIABLE) or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    import uvicorn

    uvicorn.run("flows.runtime.prefect_server:guarded_app", factory=True, host=host, port=port, log_level="error")


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:3])
