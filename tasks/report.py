"""Write the report of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import RunContext
from tasks.runtime import log_forwarding, progress

if TYPE_CHECKING:
    from lycoris.report.run.schema import StudyRecord


@task(name="report")
@redacting_errors
def write_report(context: RunContext, study: StudyRecord, out: Path) -> Path:
    """Write the report of a study as one page.

    Args:
        study: as `lycoris.report.render` takes it.

    Returns:
        The file.
    """
    from lycoris.report import render

    log_forwarding.connect(context.progress)
    with progress.track_step(context.progress, "report"):
        return render(study, out)
