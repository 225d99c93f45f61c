"""Log an adapter to MLflow."""

from __future__ import annotations

from prefect import task

from lycoris.safety.redaction import redacting_errors
from tasks.tracking.adapter_runs import AdapterRun, LoggedRun, log_adapter
from tasks.tracking.runs import StudyRun


@task(name="tracking", task_run_name="tracking · {adapter.spec.label}")
@redacting_errors
def track_adapter(study: StudyRun, adapter: AdapterRun) -> LoggedRun:
    """Log an adapter as a child run of its study, as a logged model and as a version in the registry.

    Args:
        adapter: what to log; a finished run that carries its key is reused.
    """
    return log_adapter(study, adapter)
