"""A Prefect server, an MLflow server and a worker on this machine, with their data in one folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flows.config.project import CODE_ROOT
from flows.runtime.api_password import CLIENT_VARIABLE, PASSWORD_FILE, SERVER_VARIABLE, stored_password
from flows.runtime.client_environment import ENVIRONMENT_DEFAULTS
from flows.runtime.prefect_server import wait_until_healthy
from flows.runtime.provisioning import HEARTBEAT_SECONDS, WORK_POOL
from lycoris.cache.atomic import open_log
from lycoris.errors import InputError
from lycoris.safety.request_guard import ALLOWED_HOSTS_VARIABLE
from lycoris.safety.request_guard import allowed_hosts as allowed_hosts_of

STARTUP_TIMEOUT_S = 300.0
"""How long a server may take to answer; its first start creates a database."""


class LocalServers:
    """The processes of the servers; they end with this process, however it ends, or with `stop`.

    Args:
        folder: Where data and logs are stored.
        ports: The ports of Prefect and MLflow.
        allowed_hosts: Names under which clients reach the servers, besides `host`, IP addresses and `localhost`;
            those in the environment variable LYCORIS_ALLOWED_HOSTS are added.

    Raises:
        InputError: A port is in use, `folder` cannot be written, or its password file is not private.
    """

    def __init__(self, folder: Path, host: str, ports: tuple[int, int], allowed_hosts: Sequence[str] = ()):
        self.folder = Path(folder).resolve()
        self.host, (self.prefect_port, self.mlflow_port) = host, ports
        self.allowed_hosts = [*allowed_hosts, *allowed_hosts_of(os.environ)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        client_host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self.prefect, self.mlflow = f"http://{client_host}:{ports[0]}/api", f"http://{client_host}:{ports[1]}"
        for option, port in zip(("--prefect-port", "--mlflow-port"), ports, strict=True):
            _check_port(host, port, option)
        try:
            for name in ("logs", "prefect", "artifacts"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder `{self.folder}` cannot be written: {error.strerror}.") from error

        given = os.environ.get(SERVER_VARIABLE)
        self.password_file = None if given else self.folder / PASSWORD_FILE
        self.password = given or stored_password(self.folder / PASSWORD_FILE)

    @property
    def client_environment(self) -> dict[str, str]:
        """Environment variables of a process that uses these servers."""
        return {"PREFECT_API_URL": self.prefect, CLIENT_VARIABLE: self.password, "MLFLOW_TRACKING_URI": self.mlflow}

    def start_servers(self) -> None:
        """Start both servers and wait until they answer."""
        hosts = ",".join([self.host, *self.allowed_hosts])
        database = f"sqlite:///{(self.folder / 'mlflow.db').as_posix()}"
        if (self.folder / "mlflow.db").exists():
            upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", database]
            subprocess.run(
                upgrade, env={**os.environ, **_server_environment()}, capture_output=True, check=False, cwd=CODE_ROOT
            )
        self._start(
            "prefect",
            [sys.executable, "-m", "flows.runtime.prefect_server", str(self.prefect_port), self.host],
            {
                "PREFECT_HOME": str(self.folder / "prefect"),
                "PREFECT_UI_API_URL": "/api",  # of the address in the browser
                SERVER_VARIABLE: self.password,
                ALLOWED_HOSTS_VARIABLE: hosts,
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            },
        )
        self._start(
            "mlflow",
            [
                *(sys.executable, "-m", "tasks.tracking.guarded_server", "--host", self.host),
                *("--port", str(self.mlflow_port), "--serve-artifacts", "--workers", "1"),
            ],
            {  # not options: URLs may contain passwords, and every user of the machine can see a command line
                "MLFLOW_BACKEND_STORE_URI": os.environ.get("MLFLOW_BACKEND_STORE_URI") or database,
                "MLFLOW_ARTIFACTS_DESTINATION": os.environ.get("MLFLOW_ARTIFACTS_DESTINATION")
                or (self.folder / "artifacts").as_posix(),
                ALLOWED_HOSTS_VARIABLE: hosts,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            },
        )
        self._wait("prefect", f"{self.prefect}/health")
        self._wait("mlflow", f"{self.mlflow}/health")

    def start_worker(self) -> None:
        """Start a worker of the pool, whose runs use these servers."""
        self._start(
            "worker",
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL],
            {
                **self.client_environment,
                "PREFECT_HOME": str(self.folder / "worker"),
                "PYTHONPATH": os.pathsep.join(filter(None, [str(CODE_ROOT), os.environ.get("PYTHONPATH")])),
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            },
        )

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        with open_log(self.folder / "logs" / f"{name}.log", append=True) as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "flows.runtime.supervisor", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_server_environment(), **environment},
                cwd=CODE_ROOT,
                start_new_session=True,
            )

    def _wait(self, name: str, address: str) -> None:
        if not wait_until_healthy(self.processes[name], address, STARTUP_TIMEOUT_S):
            raise InputError(f"The {name} server did not start; see `{self.folder / 'logs' / name}.log`.")

    def exited_process(self) -> str | None:
        """Return the name of a process that has exited, or None."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), None)

    def stop(self) -> None:
        """Stop the worker, then the servers."""
        for process in reversed(self.processes.values()):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            if process.poll() is None:
                process.kill()


def _server_environment() -> dict[str, str]:
    """Return the environment of servers and workers; unlike runs of the command, they keep Prefect's logging."""
    return {name: value for name, value in ENVIRONMENT_DEFAULTS.items() if not name.startswith("PREFECT_LOGGING")}


def _check_port(host: str, port: int, option: str) -> None:
    if not 0 < port < 2**16:
        raise InputError(f"Option `{option}` must be in [1, 65535], but got {port}.")
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise InputError(
            f"Port {port} of `{host}` cannot be used ({error.strerror}): choose another with `{option}`."
        ) from error
