"""Names of flow runs in Prefect: what runs, of which experiment, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prefect.runtime import flow_run


def flow_run_name() -> str:
    """The name of the current flow run: flow, experiment and time (UTC).

    Parameters of a deployment come as JSON values, those of a call as records.
    """
    parameters = flow_run.parameters or {}
    name = None
    for path in (("experiment",), ("request", "experiment"), ("definition", "experiment")):
        value: Any = parameters
        for part in (*path, "name"):
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
        name = name or value
    return " · ".join(filter(None, [flow_run.flow_name, name, datetime.now(UTC).strftime("%Y-%m-%d %H:%M")]))
