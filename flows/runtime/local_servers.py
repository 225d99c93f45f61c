"""`lycoris server`: a Prefect server, a worker and an MLflow server on this machine, their data under one folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lycoris.errors import InputError

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
STARTUP_TIMEOUT_S = 300.0  # seconds for a server to answer; the first start of each makes a database


class LocalServers:
    """The processes of one place; `stop` ends them all, and they end with this process, however it dies.

    Args:
        folder: of their data and logs.
        host: where they listen.
        ports: of Prefect and of MLflow.

    Raises:
        InputError: a port is taken or `folder` cannot be written.
    """

    def __init__(self, folder: Path, host: str, ports: tuple[int, int]):
        self.folder = Path(folder).resolve()
        self.host, (self.prefect_port, self.mlflow_port) = host, ports
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        near = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self.prefect, self.mlflow = f"http://{near}:{ports[0]}/api", f"http://{near}:{ports[1]}"
        for option, port in zip(("--prefect-port", "--mlflow-port"), ports, strict=True):
            _check_port(host, port, option)
        try:
            for name in ("logs", "prefect", "artifacts"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder `{self.folder}` cannot be written: {error.strerror}.") from error

    @property
    def addresses(self) -> dict[str, str]:
        """The environment of whatever works with these servers."""
        return {"PREFECT_API_URL": self.prefect, "MLFLOW_TRACKING_URI": self.mlflow}

    def start_servers(self) -> None:
        """Start both servers and wait until they answer."""
        from flows.runtime.provisioning import HEARTBEAT_SECONDS

        own = f"sqlite:///{(self.folder / 'mlflow.db').as_posix()}"
        if (self.folder / "mlflow.db").exists():
            upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", own]
            subprocess.run(
                upgrade, env={**os.environ, **_server_environment()}, capture_output=True, check=False, cwd=PROJECT_ROOT
            )
        self._start(
            "prefect",
            [sys.executable, "-m", "flows.runtime.prefect_server", str(self.prefect_port), self.host],
            {
                "PREFECT_HOME": str(self.folder / "prefect"),
                "PREFECT_UI_API_URL": self.prefect,
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            },
        )
        self._start(
            "mlflow",
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", self.host, "--port", str(self.mlflow_port)),
                *("--serve-artifacts", "--workers", "1"),
            ],
            {  # addresses may hold passwords, which a command line would show to everybody
                "MLFLOW_BACKEND_STORE_URI": os.environ.get("MLFLOW_BACKEND_STORE_URI") or own,
                "MLFLOW_ARTIFACTS_DESTINATION": os.environ.get("MLFLOW_ARTIFACTS_DESTINATION")
                or (self.folder / "artifacts").as_posix(),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            },
        )
        self._wait("prefect", f"{self.prefect}/health")
        self._wait("mlflow", f"{self.mlflow}/health")

    def start_worker(self) -> None:
        """Start a worker of the pool; the runs it starts log to these servers."""
        from flows.runtime.provisioning import HEARTBEAT_SECONDS, WORK_POOL

        self._start(
            "worker",
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL],
            {
                **self.addresses,
                "PREFECT_HOME": str(self.folder / "worker"),
                "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")])),
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            },
        )

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        with open(self.folder / "logs" / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "flows.runtime.supervisor", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_server_environment(), **environment},
                cwd=PROJECT_ROOT,
                start_new_session=True,
            )

    def _wait(self, name: str, address: str) -> None:
        deadline = time.monotonic() + STARTUP_TIMEOUT_S
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise InputError(f"The {name} server did not start: `{self.folder / 'logs' / name}.log` says why.")

    def exited_process(self) -> str | None:
        """The name of a process that is no more, or None."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), None)

    def stop(self) -> None:
        """End the worker, then the servers."""
        for process in reversed(self.processes.values()):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            if process.poll() is None:
                process.kill()


def _server_environment() -> dict[str, str]:
    """What servers and workers are told; unlike the command's own runs, they log."""
    from flows.runtime.prefect_server import ENVIRONMENT_DEFAULTS

    return {name: value for name, value in ENVIRONMENT_DEFAULTS.items() if not name.startswith("PREFECT_LOGGING")}


def _check_port(host: str, port: int, option: str) -> None:
    if not 0 < port < 2**16:
        raise InputError(f"Option `{option}` must be in [1, 65535], but got {port}.")
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise InputError(
            f"Port {port} of `{host}` cannot be used ({error.strerror}): name another, `{option}`."
        ) from error
