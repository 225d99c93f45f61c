"""The services of deploy/compose.yaml without containers: processes on loopback, each with a log file."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.gate import Gate

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900  # generous, for a busy machine
EXTRAS = {
    "prefect_dask": "dask", "s3fs": "s3", "boto3": "s3", "psycopg2": "postgres", "flask_wtf": "auth",
    "moto": "moto[server]",
}  # fmt: skip
KEYS = {
    "AWS_ACCESS_KEY_ID": "loopback-only", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(),
    "AWS_DEFAULT_REGION": "us-east-1",
}  # fmt: skip


def need(*packages: str, postgres: bool = False) -> None:
    """Skip the test, with the reason, if something is not installed."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs `{EXTRAS.get(name, name)}`")
    if postgres and _binary("initdb") is None:
        pytest.skip("needs PostgreSQL (Debian: postgresql)")


def _binary(name: str) -> Path | None:
    binaries = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    binary = binaries[-1] if binaries else shutil.which(name)
    return Path(binary) if binary else None


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Machines:
    """Services that run until `stop` is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.postgres: Postgres | None = None
        self.s3: Gate | None = None
        self.environment = {
            **os.environ,
            **{"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"},
            **{"MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
            **{"PREFECT_HOME": str(folder / "prefect"), "MLFLOW_HTTP_REQUEST_TIMEOUT": "600"},
            **{f"DASK_DISTRIBUTED__COMM__TIMEOUTS__{name}": f"{TIMEOUT_S}s" for name in ("CONNECT", "TCP")},
        }

    def start(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process whose output goes to ``<name>.log``."""
        with open(self.folder / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
                env={**self.environment, **environment},
            )  # fmt: skip
        return self.running[name]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, name: str, address: str) -> None:
        """Wait until a server answers, be it with an error."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and self.running[name].poll() is None:
            try:
                urllib.request.urlopen(address, timeout=30).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"{name} does not answer: {self.log(name)[-3000:]}")

    def start_postgres(self, *databases: str) -> Postgres:
        self.postgres = Postgres(databases)
        return self.postgres

    def start_s3(self) -> None:
        """Start an S3 server behind a gate, for everything that is started afterwards."""
        behind = port()
        self.start("s3", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(behind))
        self.wait("s3", f"http://127.0.0.1:{behind}")
        self.s3 = Gate(behind)
        self.environment |= {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.s3.port}"}

    def start_prefect(self, database: str) -> str:
        """Start a Prefect server with a password on a database, for everything that is started afterwards."""
        number, password = port(), f"lycoris:{secrets.token_urlsafe()}"
        address = f"http://127.0.0.1:{number}/api"
        self.start(
            "prefect", sys.executable, "-m", "flows.runtime.prefect_server", str(number),
            PREFECT_SERVER_DATABASE_CONNECTION_URL=database.replace("postgresql:", "postgresql+asyncpg:"),
            PREFECT_SERVER_API_AUTH_STRING=password,
        )  # fmt: skip
        self.wait("prefect", f"{address}/health")
        self.environment |= {"PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": password}
        return address

    def start_mlflow(self, database: str, artifacts: str, users: str) -> str:
        """Start an MLflow server with a password, for everything that is started afterwards."""
        number, password = port(), secrets.token_urlsafe()
        address = f"http://127.0.0.1:{number}"
        settings = self.folder / "auth.ini"
        permissions = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["configs"]["permissions"][
            "content"
        ]
        settings.write_text(re.sub(r"database_uri = .*", f"database_uri = {users}", permissions))
        self.start(
            "mlflow",
            *(sys.executable, "-m", "tasks.tracking.guarded_server", "--host", "127.0.0.1", "--port", str(number)),
            *("--workers", "1", "--app-name", "basic-auth", "--serve-artifacts"),
            MLFLOW_BACKEND_STORE_URI=database,
            MLFLOW_ARTIFACTS_DESTINATION=artifacts,
            MLFLOW_AUTH_CONFIG_PATH=str(settings),
            MLFLOW_AUTH_ADMIN_USERNAME="admin",
            MLFLOW_AUTH_ADMIN_PASSWORD=password,
            MLFLOW_FLASK_SERVER_SECRET_KEY=secrets.token_hex(),
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )
        self.wait("mlflow", f"{address}/health")
        self.environment |= {
            "MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password,
        }  # fmt: skip
        return address

    def start_scheduler(self) -> str:
        number = port()
        self.start(
            "scheduler", sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
            "--port", str(number), "--no-dashboard",
        )  # fmt: skip
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=5):
                return f"tcp://127.0.0.1:{number}"
            time.sleep(0.5)
        raise AssertionError(self.log("scheduler")[-3000:])

    def start_worker(self, scheduler: str, name: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a Dask worker that shares no disk: its finished stages are in a folder of its own."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return self.start(
            name,
            *(sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--nthreads", "1", "--no-nanny"),
            *("--host", "127.0.0.1", "--no-dashboard", "--name", name, "--local-directory", str(folder), *options),
            **{"LYCORIS_STORE": str(folder / "store"), **environment},
        )

    def wait_for_workers(self, scheduler: str, count: int) -> None:
        from distributed import Client

        with Client(scheduler, set_as_default=False, timeout=TIMEOUT_S) as client:
            client.wait_for_workers(count, timeout=TIMEOUT_S)

    def run(self, experiment: str | Path, *changes: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `lycoris run EXPERIMENT --json` with ``--set`` options."""
        with self.begin(experiment, *changes, **environment) as run:
            out, err = run.communicate(timeout=3 * TIMEOUT_S)
        return subprocess.CompletedProcess(run.args, run.returncode, out, err)

    def begin(self, experiment: str | Path, *changes: str, **environment: str) -> subprocess.Popen[str]:
        options = [part for change in changes for part in ("--set", change)]
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", str(experiment), *options, "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**self.environment, **environment},
        )  # fmt: skip

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self.postgres is not None:
            self.postgres.remove()


class Postgres:
    """A PostgreSQL server on loopback with a password and some databases."""

    def __init__(self, databases: tuple[str, ...]) -> None:
        self.port, self.password = port(), secrets.token_hex()
        self.folder = Path(tempfile.mkdtemp(prefix="lycoris-postgres-"))
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            names = [entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")]
            found = pwd.getpwnam("postgres" if "postgres" in names else names[0])
            self._user = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
        secret = self.folder / "password"
        secret.write_text(self.password)
        for path in (self.folder, secret):
            shutil.chown(path, self._user.get("user"), self._user.get("group")) if self._user else None
        self._call("initdb", "-D", "data", "-U", "lycoris", "--auth=scram-sha-256", "--pwfile", str(secret), "-N")
        self.start()
        import psycopg2

        connection = psycopg2.connect(self.address("postgres"))
        connection.autocommit = True
        for name in databases:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()

    def address(self, database: str) -> str:
        return f"postgresql://lycoris:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._call("pg_ctl", "-D", "data", "-w", "-t", str(TIMEOUT_S), "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it as a crash does: connections are cut without notice."""
        self._call("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        with suppress(AssertionError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, name: str, *arguments: str) -> None:
        with open(self.folder / "commands.log", "ab") as log:
            done = subprocess.run(
                [str(_binary(name)), *arguments], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                check=False, **self._user,
            )  # fmt: skip
        assert done.returncode == 0, (self.folder / "commands.log").read_text()[-2000:]


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON object that the command printed."""
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


def scores_by_adapter(study: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of a study, which must not depend on where it was run."""
    return {f"{one['concept']} {one['algorithm']} {one['captions']}": one["scores"] for one in study["adapters"]}
