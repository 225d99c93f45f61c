"""Everything a study found, as one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task

from tasks.artifacts import RunContext
from tasks.runtime import progress


@task(name="report")
def write_report(context: RunContext, study: Mapping[str, Any], out: Path) -> Path:
    """Write the report of a study.

    Args:
        place: of the run.
        study: what `lycoris.report.render` takes.
        out: the file to write.

    Returns:
        The file.
    """
    from lycoris.report import render

    with progress.track_step(context.progress, "report"):
        return render(dict(study), out)
