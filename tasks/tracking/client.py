"""Connect to MLflow: the address of the tracking server or database, and a quiet client for it."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lycoris.cache.atomic import atomic_write, remove_leftovers
from lycoris.errors import InputError
from lycoris.safety.redaction import redact
from tasks.runtime.library_logging import quiet_library
from tasks.runtime.retry import MLFLOW_MAX_RETRIES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

ItemT = TypeVar("ItemT")
LOCATION_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold addresses of artifacts."""

logger = logging.getLogger("lycoris.tracking")
_own_environment: dict[str, set[str]] = {}
"""Variable -> addresses that MLflow has put into the environment of this process; not the user's choice."""


@dataclass(frozen=True)
class TrackingServer:
    """A tracking server or database.

    Attributes:
        uri: as MLflow takes it.
        artifact_location: where files of new experiments go; None leaves it to the server.
    """

    uri: str
    artifact_location: str | None


def tracking_server(output: Path) -> TrackingServer:
    """`MLFLOW_TRACKING_URI` if the user has set it, else an SQLite database and a folder below `output`."""
    uri = user_environment("MLFLOW_TRACKING_URI")
    if uri:
        return TrackingServer(uri, None)
    folder = (Path(output) / "mlflow").resolve()
    database = folder / "mlflow.db"
    artifacts = (folder / "artifacts").as_uri()
    if database.exists():
        _update_locations(database, artifacts)
    else:
        _create_database(database)
    return TrackingServer(_sqlite_uri(database), artifacts)


def existing_server(output: Path) -> TrackingServer | None:
    """The server that the runs of an output folder were logged to, or None if there is none yet."""
    exists = (Path(output) / "mlflow" / "mlflow.db").is_file()
    return tracking_server(output) if exists or user_environment("MLFLOW_TRACKING_URI") else None


def connect(server: TrackingServer) -> MlflowClient:
    """A client of the server and its model registry, which are MLflow's defaults from now on."""
    _configure_mlflow()
    import mlflow

    registry_uri = user_environment("MLFLOW_REGISTRY_URI") or server.uri
    addresses = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_REGISTRY_URI": registry_uri}
    for name, uri in addresses.items():
        if os.environ.get(name) != uri:
            _own_environment.setdefault(name, set()).add(uri)
    mlflow.set_tracking_uri(server.uri)
    mlflow.set_registry_uri(registry_uri)
    return _open_client(server)


def _open_client(server: TrackingServer) -> MlflowClient:
    """MLflow's client; an address that it cannot open is an error in one sentence."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import ArgumentError

    scheme, _, path = server.uri.partition(":///")
    if scheme.startswith("sqlite") and path and not Path(path).parent.is_dir():
        raise InputError(f"The tracking database `{redact(server.uri)}` is in a folder that does not exist.")
    try:
        return MlflowClient()
    except (MlflowException, ImportError, ArgumentError) as error:
        reason = re.split(r"(?<=[.!?])\s", str(error).strip())[0].rstrip(".")
        raise InputError(
            f"MLflow cannot open the tracking server or database `{redact(server.uri)}`: {redact(reason)}; set "
            "MLFLOW_TRACKING_URI to a server's address or to a database whose driver is installed."
        ) from error


def all_pages(search: Callable[..., PagedList[ItemT]], *arguments: Any) -> list[ItemT]:
    """Everything that a search of MLflow's client finds, page by page."""
    page = search(*arguments)
    found = list(page)
    while page.token:
        page = search(*arguments, page_token=page.token)
        found += page
    return found


def _create_database(database: Path) -> None:
    """Create a database under a temporary name: MLflow cannot continue with one that is half made."""
    _configure_mlflow()
    from mlflow import MlflowClient

    database.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(database.parent, f".{database.name}")
    with atomic_write(database, overwrite=False) as temporary:  # another process may have made one, with runs in it
        uri = _sqlite_uri(temporary)
        MlflowClient(uri, uri).search_experiments(max_results=1)


def _update_locations(database: Path, artifacts: str) -> None:
    """Let a database whose folder was moved or copied name its own artifacts: MLflow stores absolute addresses."""
    former: list[str] = []
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database)) as opened, opened:  # MLflow reports it
        query = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE '%/mlflow/artifacts'"
        former = [location for (location,) in opened.execute(query) if location != artifacts]
        for location in former:
            for table, column in LOCATION_COLUMNS:
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (artifacts, len(location) + 1, len(location), location),
                )
    if former:
        logger.info("The tracking database %s was moved: its artifacts are in %s now.", database, artifacts)


def _sqlite_uri(database: Path) -> str:
    return f"sqlite:///{database.as_posix()}"


def user_environment(variable: str) -> str | None:
    """The user's value of an environment variable that MLflow sets as well."""
    value = os.environ.get(variable)
    return None if value in _own_environment.get(variable, ()) else value


def _configure_mlflow() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MLFLOW_MAX_RETRIES)
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # which shows passwords in addresses
    import mlflow  # noqa: F401 - it sets its log levels on import

    quiet_library("mlflow")
