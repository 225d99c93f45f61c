"""Log adapters as MLflow runs, below the run of their study; see `tasks.tracking.runs` on resuming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.safety.redaction import redact_values
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking import models
from tasks.tracking.adapter_record import AdapterRun
from tasks.tracking.client import all_pages, connect
from tasks.tracking.dataset_source import log_dataset
from tasks.tracking.failures import delete_failures
from tasks.tracking.live_curves import LIVE_TAG, find_live_run
from tasks.tracking.models import KEY_TAG, find_version, has_file
from tasks.tracking.orphans import PROCESS_TAG, process_tag
from tasks.tracking.parameters import log_parameters
from tasks.tracking.prompts import link_prompts
from tasks.tracking.runs import (
    KIND_TAG,
    MAX_TAG_LENGTH,
    NOTE_TAG,
    PARENT_TAG,
    StudyRun,
    ending_run,
    find_run,
    get_or_create_experiment,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MAX_METRICS_PER_BATCH = 1000
APPENDED_ARTIFACTS = frozenset({"captions.json", "prompts.json", "scores.json", "images"})
"""Artifacts of an adapter's run that grow if they are logged again."""


@dataclass(frozen=True)
class LoggedRun:
    """The run of an adapter, its version in the registry, and whether both existed before."""

    run_id: str
    cached: bool
    version: str


@retry_while_unavailable
def log_adapter(study: StudyRun, adapter: AdapterRun) -> LoggedRun:
    """Log an adapter as a child run, as a logged model and as a version in the registry.

    Its run begins and ends when its training did.

    Args:
        adapter: what to log; a finished run that carries its key is reused, and moves below the study's newest run.
    """
    client, spec = connect(study.server), adapter.spec
    experiment = get_or_create_experiment(client, study.server, study.name)
    existing = find_run(client, experiment, adapter.key)
    if existing is None and adapter.live_tags:
        existing = find_live_run(client, experiment, adapter.live_tags[LIVE_TAG])
    if existing is not None and existing.info.status == "FINISHED":
        version = find_version(client, spec.concept, adapter.key)
        if version is not None and has_file(client, spec.concept, version, adapter.file.name):
            if existing.data.tags.get(PARENT_TAG) != study.run_id:
                client.set_tag(existing.info.run_id, PARENT_TAG, study.run_id)
            return LoggedRun(existing.info.run_id, cached=True, version=version)
    start, end = adapter.period(existing.info.start_time if existing else None)  # the same points when resumed
    if existing is None:
        first_tags = {
            KEY_TAG: adapter.key,
            PROCESS_TAG: process_tag(),
            KIND_TAG: "adapter",
            PARENT_TAG: study.run_id,
        }
        run = client.create_run(experiment, start_time=start, tags=first_tags, run_name=spec.name)
    else:
        run = existing
    with ending_run(client, run.info.run_id, end_time=end):
        client.update_run(run.info.run_id, "RUNNING")
        if existing is not None:
            _remove_partial_artifacts(client, experiment, run)
        version = _log_contents(client, study, adapter, run, (start, end))
    delete_failures(client, experiment, study.run_id, spec.name)
    client.set_registered_model_alias(spec.concept, "challenger", version)
    return LoggedRun(run.info.run_id, cached=False, version=version)


@retry_while_unavailable
def find_logged(study: StudyRun) -> dict[str, LoggedRun]:
    """The adapters that are logged below a study's run and registered, by key: two queries, not two for each adapter.

    Whether a version still has its file is left to `is_registered`.
    """
    client = connect(study.server)
    experiment = get_or_create_experiment(client, study.server, study.name)
    query = f"tags.`{PARENT_TAG}` = '{study.run_id}' and attributes.status = 'FINISHED'"
    runs = {run.info.run_id: run for run in all_pages(client.search_runs, [experiment], query)}
    logged: dict[str, LoggedRun] = {}
    for version in models.versions_of_runs(client, list(runs)):
        key, run = version.tags.get(KEY_TAG), runs[str(version.run_id)]
        if key is not None and key == run.data.tags.get(KEY_TAG):
            number = max(int(version.version), int(logged[key].version) if key in logged else 0)
            logged[key] = LoggedRun(run.info.run_id, cached=True, version=str(number))
    return logged


@retry_while_unavailable
def is_registered(study: StudyRun, adapter: AdapterRun, logged: LoggedRun) -> bool:
    """Whether the version of a logged adapter still has the adapter's file."""
    return has_file(connect(study.server), adapter.spec.concept, logged.version, adapter.file.name)


def _log_contents(client: MlflowClient, study: StudyRun, adapter: AdapterRun, run: Run, period: tuple[int, int]) -> str:
    """Log everything of an adapter to its run, register its model, and return the version."""
    import pandas as pd
    from mlflow.entities import RunTag

    run_id, spec = run.info.run_id, adapter.spec
    tags = redact_values({"data.version": study.data_version.hash, **adapter.tags})
    run_tags = {
        **tags,
        "concept": spec.concept,
        KIND_TAG: "adapter",
        PROCESS_TAG: process_tag(),
        NOTE_TAG: adapter.description,
    }
    client.log_batch(run_id, tags=[RunTag(name, str(value)[:MAX_TAG_LENGTH]) for name, value in run_tags.items()])
    log_parameters(client, run, adapter.parameters)
    logged = {
        name: {point.step for point in client.get_metric_history(run_id, name)}
        for name in adapter.curves
        if name in run.data.metrics
    }
    metrics = adapter.metrics(*period, logged)
    for first in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + MAX_METRICS_PER_BATCH])
    log_dataset(client, run_id, study.data_version, "training")
    client.log_table(run_id, pd.DataFrame(list(adapter.captions)), "captions.json")
    if adapter.prompts:
        client.log_table(run_id, pd.DataFrame(list(adapter.prompts)), "prompts.json")
        link_prompts(client, run.info.experiment_id, (run_id, study.run_id), spec.concept, adapter.prompts)
    client.log_table(run_id, pd.DataFrame([asdict(score) for score in adapter.scores]), "scores.json")
    client.log_artifact(run_id, str(adapter.contact_sheet))
    client.log_artifact(run_id, str(adapter.file))
    _log_samples(client, run_id, adapter.samples)
    version = find_version(client, spec.concept, adapter.key)
    if version is not None and has_file(client, spec.concept, version, adapter.file.name):
        return version
    return models.register(client, adapter, {**tags, **adapter.version_tags(run_id)}, run_id)


def _remove_partial_artifacts(client: MlflowClient, experiment: str, run: Run) -> None:
    """Delete what a killed process has logged of a run, where logging it again would add to it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    files = get_artifact_repository(run.info.artifact_uri)
    for name in APPENDED_ARTIFACTS.intersection(entry.path for entry in files.list_artifacts()):
        files.delete_artifacts(name)
    versions = models.versions_of_run(client, run.info.run_id)
    registered = {str(version.source).rpartition("/")[2] for version in versions}
    for model in client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'"):
        if model.model_id not in registered:
            client.delete_logged_model(model.model_id)


def _log_samples(client: MlflowClient, run_id: str, samples: Sequence[Mapping[str, Any]]) -> None:
    """Log images by step, one series per prompt and seed."""
    from lycoris.data.image_opening import open_image

    for sample in samples:
        for number, file in enumerate(sample["images"]):
            with open_image(Path(file)) as image:
                client.log_image(run_id, image, key=f"sample {number}", step=sample["step"], synchronous=True)
