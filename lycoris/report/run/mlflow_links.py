"""Links from a page to the runs in MLflow."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from lycoris.report.run.schema import StudyRecord


def tracking_links(study: StudyRecord) -> dict[str, Any] | None:
    """How a reader of the page reaches the runs; None when the study does not say where they are tracked.

    Args:
        study: the study.

    Returns:
        ``run`` (the study's own) and either ``runs``, the URL before a run's id, and ``experiment``, the URL of all
        runs; or ``command``, which opens MLflow's pages of a database or folder. Passwords are left out.
    """
    tracking = study.get("tracking") or {}
    address, experiment = str(tracking.get("address") or ""), tracking.get("experiment")
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname and experiment is not None:
        host = parts.netloc.rpartition("@")[2]
        server = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        page = f"{server}/#/experiments/{quote(str(experiment), safe='')}"
        return {"run": tracking.get("run"), "experiment": page, "runs": f"{page}/runs/"}
    if parts.scheme in ("sqlite", "file") or address.startswith(("/", ".")):
        return {"run": tracking.get("run"), "command": f"mlflow ui --backend-store-uri {shlex.quote(address)}"}
    return {"run": tracking.get("run")}
