"""Log adapters that could not be evaluated as failed MLflow runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lycoris.safety.redaction import redact
from tasks.artifacts import RunSpec
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import connect
from tasks.tracking.live_curves import LIVE_TAG
from tasks.tracking.parameters import log_parameters
from tasks.tracking.runs import KIND_TAG, MAX_TAG_LENGTH, NOTE_TAG, PARENT_TAG, StudyRun, flatten
from tasks.tracking.runs import get_or_create_experiment as open_experiment
from tasks.trainings import AdapterSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FAILED_KIND = "failed adapter"
ERROR_TAG = "error"
"""Tag of a failed run: the first error among its steps."""


@retry_while_unavailable
def log_failure(study: StudyRun, spec: RunSpec, settings: AdapterSettings, error: str) -> str:
    """Log an adapter that could not be evaluated as a child run with the status FAILED.

    A later success of the same study deletes the run (`delete_failures`).

    Args:
        error: stored as the tag ``error``, as the description and, whole, as the artifact ``error.txt``.

    Returns:
        The id of the run.
    """
    client = connect(study.server)
    experiment = open_experiment(client, study.server, study.name)
    error = redact(error)
    existing = find_failures(client, experiment, study.run_id, spec.name)
    tags = {PARENT_TAG: study.run_id, KIND_TAG: FAILED_KIND, "concept": spec.concept, "algorithm": spec.algorithm}
    existing = existing or _live_runs(client, experiment, study.run_id, spec.name)
    run = existing[0] if existing else client.create_run(experiment, tags=tags, run_name=spec.name)
    run_id = run.info.run_id
    for name, value in tags.items():
        client.set_tag(run_id, name, value)
    if LIVE_TAG in run.data.tags:  # so that another attempt shows its training in a run of its own
        client.delete_tag(run_id, LIVE_TAG)
    client.set_tag(run_id, ERROR_TAG, error[:MAX_TAG_LENGTH])
    client.set_tag(run_id, NOTE_TAG, f"**Failed:** {error}"[:MAX_TAG_LENGTH])
    if run.data.tags.get(KIND_TAG) != FAILED_KIND or not run.data.params:
        values = {"concept": spec.concept, "captions": spec.strategy, "seed": spec.seed}
        log_parameters(client, run, {**values, **flatten(settings.as_dict())})
    client.log_text(run_id, error, "error.txt")
    client.set_terminated(run_id, "FAILED")
    return run_id


def find_failures(client: MlflowClient, experiment: str, parent: str, name: str) -> list[Run]:
    """The failed runs of an adapter of a study, by the id of the study's run and the adapter's name."""
    query = f"tags.`{KIND_TAG}` = '{FAILED_KIND}' and tags.`{PARENT_TAG}` = '{parent}'"
    return [run for run in client.search_runs([experiment], query) if run.info.run_name == name]


def _live_runs(client: MlflowClient, experiment: str, parent: str, name: str) -> list[Run]:
    """The runs that showed the training of an adapter of a study and were not completed."""
    query = f"tags.`{KIND_TAG}` = 'training' and tags.`{PARENT_TAG}` = '{parent}'"
    return [run for run in client.search_runs([experiment], query) if run.info.run_name == name]


def delete_failures(client: MlflowClient, experiment: str, parent: str, name: str) -> None:
    """Delete the failed runs of an adapter that has succeeded."""
    for run in find_failures(client, experiment, parent, name):
        client.delete_run(run.info.run_id)
