"""Where the runs behind a page are tracked, as far as a reader of the page can go there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit


def tracking_links(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the page leads to MLflow; None when the study does not say where its runs are tracked.

    Args:
        study: with ``tracking``: the ``address`` that MLflow was given, the ``experiment`` and the study's own ``run``.

    Returns:
        ``run`` (the study's own) and either ``runs``, the address before a run's id, and ``experiment``, that of all
        runs; or ``command``, which opens MLflow's pages of a database or folder. Passwords are left out.
    """
    told = study.get("tracking") or {}
    address, experiment = str(told.get("address") or ""), told.get("experiment")
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname and experiment is not None:
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        page = f"{bare}/#/experiments/{quote(str(experiment), safe='')}"
        return {"run": told.get("run"), "experiment": page, "runs": f"{page}/runs/"}
    if parts.scheme in ("sqlite", "file") or address.startswith(("/", ".")):
        return {"run": told.get("run"), "command": f"mlflow ui --backend-store-uri {shlex.quote(address)}"}
    return {"run": told.get("run")}
