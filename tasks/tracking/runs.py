"""Log studies as MLflow runs.

Logging is idempotent: a finished run that carries the content key of its work in the tag ``pipeline.key`` is reused, a
run that a killed process began is resumed, and aliases move last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.safety.redaction import redact, redact_values
from tasks.data_versions.manifest import DataVersion
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.dataset_source import log_dataset
from tasks.tracking.models import KEY_TAG
from tasks.tracking.orphans import PROCESS_TAG, close_orphaned_runs, process_tag
from tasks.tracking.parameters import log_parameters

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


MAX_TAG_LENGTH = 5000
KIND_TAG = "pipeline.kind"
"""Tag of a run: ``study``, ``seal``, ``refresh``, ``adapter`` or ``failed adapter``."""
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
"""MLflow's tag for a run's description, in Markdown."""


@dataclass(frozen=True)
class StudyRun:
    """The parent run of a study: where it is logged, its experiment's name, its id, and the version of the data."""

    server: TrackingServer
    name: str
    run_id: str
    data_version: DataVersion

    @property
    def uri(self) -> str:
        """Address of the server."""
        return self.server.uri


@retry_while_unavailable
def open_study(
    server: TrackingServer,
    name: str,
    key: str,
    settings: Mapping[str, Any],
    version: DataVersion,
    kind: str = "study",
) -> StudyRun:
    """Create or reopen the parent run of a study, with the data version as its dataset input.

    Args:
        name: of the study and of its experiment.
        key: hash of the study's settings; the same settings reopen the same run.
        settings: logged as parameters, nested names joined by dots.
        kind: ``"study"`` or ``"refresh"``.
    """
    client = connect(server)
    experiment = get_or_create_experiment(client, server, name)
    existing = find_run(client, experiment, key)
    tags = {KEY_TAG: key, PROCESS_TAG: process_tag(), KIND_TAG: kind}
    run = existing or client.create_run(experiment, tags=tags, run_name=name if kind == "study" else f"{name} {kind}")
    run_id = run.info.run_id
    client.update_run(run_id, "RUNNING")  # only `close_study`, `close_refresh` and `ending_run` end it
    log_parameters(client, run, flatten(settings))
    log_dataset(client, run_id, version, "data")
    for tag, value in (("data.version", version.hash), (PROCESS_TAG, process_tag())):
        client.set_tag(run_id, tag, value)
    close_orphaned_runs(client, experiment)
    return StudyRun(server, name, run_id, version)


def end_status(error: BaseException) -> str:
    """The state of a run that an error ended: KILLED by an interrupt or cancellation, also a wrapped one."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, Exception):
            return "KILLED"
        cause = cause.__cause__
    return "FAILED"


@contextmanager
def ending_run(client: MlflowClient, run_id: str, end_time: int | None = None) -> Iterator[None]:
    """End a run with the block: FINISHED, FAILED if it raises, KILLED if it is interrupted or cancelled.

    Args:
        end_time: in milliseconds; None is now. Only for a block that ends well.
    """
    try:
        yield
    except BaseException as error:
        with suppress(Exception):  # the error of the block is the one to report
            client.set_terminated(run_id, end_status(error))
        raise
    client.set_terminated(run_id, "FINISHED", end_time)


@contextmanager
def ending_study(study: StudyRun) -> Iterator[StudyRun]:
    """End a study's run if the block raises: as FAILED, or as KILLED if it is interrupted or cancelled."""
    try:
        yield study
    except BaseException as error:
        status = end_status(error)
        with suppress(Exception):  # the error of the block is the one to report
            client = connect(study.server)
            if status == "FAILED":
                text = redact(f"**Failed:** {type(error).__name__}: {error}")[:MAX_TAG_LENGTH]
                client.set_tag(study.run_id, NOTE_TAG, text)
            client.set_terminated(study.run_id, status)
        raise


@retry_while_unavailable
def close_study(
    study: StudyRun,
    files: Sequence[Path],
    description: str,
    metrics: Mapping[str, float] | None = None,
    *,
    failed: bool = False,
) -> None:
    """End a study's parent run.

    Args:
        files: its artifacts.
        description: in Markdown.
        metrics: of the study as a whole; characters that MLflow does not allow in a name are replaced by ``_``.
        failed: whether its status is FAILED, because no adapter could be evaluated.
    """
    client = connect(study.server)
    for file in files:
        client.log_artifact(study.run_id, str(file))
    client.set_tag(study.run_id, NOTE_TAG, redact(description)[:MAX_TAG_LENGTH])
    for name, value in (metrics or {}).items():
        client.log_metric(study.run_id, re.sub(r"[^\w\-. :/]", "_", name), value)
    client.set_terminated(study.run_id, "FAILED" if failed else "FINISHED")


@retry_while_unavailable
def close_refresh(study: StudyRun, outcome: Mapping[str, Any], status: str) -> None:
    """End a refresh's run, with its result as tags and as an artifact."""
    client = connect(study.server)
    for concept in outcome["concepts"]:
        text = f"{concept['state']}: {concept['reason']}"
        client.set_tag(study.run_id, f"refresh.{concept['concept']}", redact(text)[:MAX_TAG_LENGTH])
    client.log_dict(study.run_id, redact_values(outcome), "refresh.json")
    client.set_terminated(study.run_id, status)


@retry_while_unavailable
def tracking_links(study: StudyRun) -> dict[str, str]:
    """Where a study is tracked, for its report: ``address`` without passwords, ``experiment`` and ``run``."""
    experiment = connect(study.server).get_run(study.run_id).info.experiment_id
    return {"address": redact(study.uri), "experiment": experiment, "run": study.run_id}


@retry_while_unavailable
def find_finished_run(server: TrackingServer, name: str, key: str) -> str | None:
    """The id of the finished run of a study that carries a key, or None."""
    client = connect(server)
    run = find_run(client, get_or_create_experiment(client, server, name), key)
    return run.info.run_id if run is not None and run.info.status == "FINISHED" else None


def get_or_create_experiment(client: MlflowClient, server: TrackingServer, name: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=server.artifact_location)
        except MlflowException:  # another process was faster
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The run that carries a key; a finished one rather than one that was begun."""
    runs = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time ASC"])
    return next((run for run in runs if run.info.status == "FINISHED"), runs[0] if runs else None)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
