"""`lycoris server`: run Prefect, MLflow and a worker on this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from flows.cli.options import PATH, Arguments, option
from flows.cli.output import print_lines, print_message
from flows.config.project import deployment_file, project_root
from flows.runtime.api_password import SERVER_VARIABLE
from flows.runtime.client_environment import show_prefect_logs
from lycoris.errors import InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DESCRIPTION = """\
Start a Prefect server, an MLflow server and a worker, create the deployments in prefect.yaml, and run until Ctrl-C.

All data is stored in one folder, unless PREFECT_SERVER_DATABASE_CONNECTION_URL, MLFLOW_BACKEND_STORE_URI or
MLFLOW_ARTIFACTS_DESTINATION name other places. The servers listen on loopback only. Prefect asks for a password, which
is generated at the first start and kept in the file `prefect-auth` of the folder; MLflow asks for none.
"""


PARAMETERS = (
    option("--folder", type=PATH, default=Path("runs/server"), help="where data is stored (runs/server)"),
    option("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)"),
    option(
        "--allowed-host",
        multiple=True,
        metavar="NAME",
        help="a host name under which clients reach the servers, besides IP addresses and localhost; repeatable",
    ),
    option("--prefect-port", type=int, default=4200, help="default: 4200"),
    option("--mlflow-port", type=int, default=5050, help="default: 5050"),
    option("--deployments", type=PATH, help="deployment file (prefect.yaml)"),
    option("--gpus", type=int, default=1, help="how many trainings may use a GPU at the same time (1)"),
)


def run(arguments: Arguments) -> int:
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
        provisioning.deploy(arguments.deployments or deployment_file(), project_root(), servers.client_environment)
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
