"""MLflow's server behind a guard against other web pages; takes the options of ``mlflow server``.

MLflow's own checks let pages of every port of this machine write, and accept host names that begin like a private
address (``10.example.org``). Run as ``python -m tasks.tracking.guarded_server``.
"""

from __future__ import annotations

import os
import sys
from inspect import isfunction
from typing import Any

from lycoris.safety.request_guard import RequestGuard, allowed_hosts, split_list

APPLICATION_VARIABLE = "LYCORIS_MLFLOW_APPLICATION"
"""The environment variable that names MLflow's web application to the process that serves it."""


def guarded_app() -> RequestGuard:
    """Return MLflow's web application behind a guard."""
    from mlflow.environment_variables import MLFLOW_SERVER_CORS_ALLOWED_ORIGINS
    from uvicorn.importer import import_from_string

    application = import_from_string(os.environ[APPLICATION_VARIABLE])
    origins = split_list(MLFLOW_SERVER_CORS_ALLOWED_ORIGINS.get() or "")
    return RequestGuard(application() if isfunction(application) else application, allowed_hosts(os.environ), origins)


def main() -> None:
    """Run ``mlflow server`` with the options of the command line."""
    from mlflow import server
    from mlflow.cli import cli

    build_command = server._build_uvicorn_command

    def build_guarded_command(*arguments: Any, **options: Any) -> list[str]:
        *command, os.environ[APPLICATION_VARIABLE] = build_command(*arguments, **options)
        return [*command, "--factory", f"tasks.tracking.guarded_server:{guarded_app.__name__}"]

    server._build_uvicorn_command = build_guarded_command
    os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", "?*")  # the guard checks hosts; `*` would log a warning
    cli(["server", *sys.argv[1:]])


if __name__ == "__main__":
    main()
