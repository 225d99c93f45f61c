"""`lycoris server`: run Prefect, MLflow and a worker on this machine."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from flows.cli.output import print_lines, print_message
from flows.runtime.api_password import SERVER_VARIABLE
from flows.runtime.prefect_server import show_prefect_logs
from lycoris.errors import InputError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
HELP = "run Prefect, MLflow and a worker on this machine"
DESCRIPTION = """\
Start a Prefect server, an MLflow server and a worker, create the deployments in prefect.yaml, and run until Ctrl-C.

All data is stored in one folder, unless PREFECT_SERVER_DATABASE_CONNECTION_URL, MLFLOW_BACKEND_STORE_URI or
MLFLOW_ARTIFACTS_DESTINATION name other places. The servers listen on loopback only. Prefect asks for a password, which
is generated at the first start and kept in the file `prefect-auth` of the folder; MLflow asks for none.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--folder", type=Path, default=Path("runs/server"), help="where data is stored (runs/server)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME",
        help="a host name under which clients reach the servers, besides IP addresses and localhost; repeatable",
    )  # fmt: skip
    parser.add_argument("--prefect-port", type=int, default=4200, help="default: 4200")
    parser.add_argument("--mlflow-port", type=int, default=5050, help="default: 5050")
    parser.add_argument(
        "--deployments", type=Path, default=PROJECT_ROOT / "prefect.yaml", help="deployment file (prefect.yaml)"
    )
    parser.add_argument("--gpus", type=int, default=1, help="how many trainings may use a GPU at the same time (1)")


def run(arguments: argparse.Namespace) -> int:
    """Run the servers until Ctrl-C or SIGTERM; raise if one of them stops."""
    from flows.runtime import provisioning
    from flows.runtime.local_servers import LocalServers

    show_prefect_logs()
    ports = (arguments.prefect_port, arguments.mlflow_port)
    servers = LocalServers(arguments.folder, arguments.host, ports, arguments.allowed_host)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        servers.start_servers()
        os.environ.update(servers.client_environment)
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        provisioning.provision(gpus=arguments.gpus)
        provisioning.deploy(arguments.deployments, PROJECT_ROOT, servers.client_environment)
        servers.start_worker()
        if arguments.host not in LOOPBACK:
            print_message(f"Listening on {arguments.host}: MLflow asks for no password.")
        print_lines(
            [
                f"Prefect  {servers.prefect.removesuffix('/api')}",
                f"MLflow   {servers.mlflow}",
                f"password {servers.password_file or f'of Prefect: {SERVER_VARIABLE}'}",
                f"worker   of the pool `{provisioning.WORK_POOL}`",
                f"logs     {servers.folder / 'logs'}",
                "Press Ctrl-C to stop.",
            ]
        )
        while (exited := servers.exited_process()) is None:
            time.sleep(1)
        raise InputError(f"Process `{exited}` stopped; see `{servers.folder / 'logs' / exited}.log`.")
    except KeyboardInterrupt:
        return 0
    finally:
        servers.stop()
