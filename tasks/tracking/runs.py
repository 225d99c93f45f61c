"""Log studies and adapters as MLflow runs.

Logging is idempotent: a finished run that carries the content key of its work in the tag ``pipeline.key`` is reused, a
run that a killed process began is resumed, and aliases move last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.cache.integrity import file_digest
from lycoris.safety.redaction import redact
from tasks.artifacts import AdapterSettings, RunSpec, TrainingSummary
from tasks.data_versions.manifest import DataVersion
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking import models
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.dataset_source import log_dataset
from tasks.tracking.models import KEY_TAG, find_version
from tasks.tracking.orphans import PROCESS_TAG, close_orphaned_runs, process_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from lycoris.metrics import Score

MAX_TAG_LENGTH = 5000
MAX_PARAM_LENGTH = 250
"""Characters of a parameter's value that every MLflow store keeps."""
MAX_METRICS_PER_BATCH = 1000
APPENDED_ARTIFACTS = frozenset({"captions.json", "scores.json", "images"})
"""Artifacts of an adapter's run that grow if they are logged again."""


@dataclass(frozen=True)
class LoggedRun:
    """The run of an adapter, its version in the registry, and whether both existed before."""

    run_id: str
    cached: bool
    version: str


@dataclass(frozen=True)
class StudyRun:
    """The parent run of a study: where it is logged, its experiment's name, its id, and the version of the data."""

    server: TrackingServer
    name: str
    run_id: str
    data_version: DataVersion


@dataclass(frozen=True)
class AdapterRun:
    """Everything that is logged of one adapter.

    Attributes:
        key: hash of everything its scores depend on.
        spec: which adapter of the study.
        settings: logged as parameters.
        summary: of its training.
        curves: metric -> (step, value) in order.
        samples: ``{"step", "images"}`` records of images generated during training.
        scores: of its images.
        captions: rows of the caption table.
        file: the safetensors file.
        contact_sheet: an overview of its images.
        base: source of the model that the adapter belongs to.
        lineage: further tags, such as the commit and content keys.
    """

    key: str
    spec: RunSpec
    settings: AdapterSettings
    summary: TrainingSummary
    curves: Mapping[str, Sequence[tuple[int, float]]]
    samples: Sequence[Mapping[str, Any]]
    scores: Sequence[Score]
    captions: Sequence[Mapping[str, str]]
    file: Path
    contact_sheet: Path
    base: str
    lineage: Mapping[str, str]

    @property
    def tags(self) -> dict[str, Any]:
        """Of the run and of the registered version."""
        spec = self.spec
        checkpoint = {} if spec.checkpoint is None else {"checkpoint": f"{spec.checkpoint_unit} {spec.checkpoint}"}
        return {
            KEY_TAG: self.key,
            "pipeline.kind": "adapter",
            "concept": spec.concept,
            "algorithm": spec.algorithm,
            "captions": spec.strategy,
            "seed": spec.seed,
            "step": self.summary.step,
            "epoch": self.summary.epoch,
            **self.lineage,
            **checkpoint,
        }

    @property
    def parameters(self) -> dict[str, str]:
        """Of the run."""
        spec = self.spec
        values = {
            "concept": spec.concept,
            "captions": spec.strategy,
            "seed": spec.seed,
            "step": self.summary.step,
            "epoch": self.summary.epoch,
            **_flatten(self.settings.as_dict()),
        }
        return {name: redact(str(value))[:MAX_PARAM_LENGTH] for name, value in values.items()}

    def metrics(self, timestamp: int) -> list[Metric]:
        """Curves and scores, at a time in milliseconds."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, float(value), timestamp, step)
            for name, points in self.curves.items()
            for step, value in points
        ]
        for score in self.scores:
            named = {"": score.value, "base/": score.base, "difference/": score.difference}
            metrics += [
                Metric(f"{prefix}{score.name}", float(value), timestamp, 0)
                for prefix, value in named.items()
                if value is not None
            ]
        return metrics


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
        server: to log to.
        name: of the study and of its experiment.
        key: hash of the study's settings; the same settings reopen the same run.
        settings: logged as parameters, nested names joined by dots.
        version: of the data.
        kind: ``"study"`` or ``"refresh"``.
    """
    import mlflow

    client = connect(server)
    experiment = _get_or_create_experiment(client, server, name)
    existing = _find_run(client, experiment, key)
    run = mlflow.start_run(
        experiment_id=experiment,
        run_id=existing.info.run_id if existing else None,
        run_name=None if existing else name if kind == "study" else f"{name} {kind}",
        tags=None if existing else {KEY_TAG: key, PROCESS_TAG: process_tag(), "pipeline.kind": kind},
    )
    try:
        logged = run.data.params  # a killed process may have logged only some
        mlflow.log_params(
            {
                name: redact(str(value))[:MAX_PARAM_LENGTH]
                for name, value in _flatten(settings).items()
                if name not in logged
            }
        )
        log_dataset(version, "data")
        mlflow.set_tags({"data.version": version.hash, PROCESS_TAG: process_tag()})
    finally:
        mlflow.end_run("RUNNING")  # only `close_study` ends it
    close_orphaned_runs(client, experiment)
    return StudyRun(server, name, run.info.run_id, version)


@retry_while_unavailable
def _close(server: TrackingServer, run_id: str, files: Sequence[Path], status: str) -> None:
    client = connect(server)
    for file in files:
        client.log_artifact(run_id, str(file))
    client.set_terminated(run_id, status)


def close_study(study: StudyRun, report: Path, scores: Path | None, status: str = "FINISHED") -> None:
    """End a study's parent run, with its report and its table of scores as artifacts."""
    _close(study.server, study.run_id, [report] if scores is None else [report, scores], status)


def close_refresh(study: StudyRun, outcome: Mapping[str, Any], status: str) -> None:
    """End a refresh's run, with its result as tags and as an artifact."""
    _log_refresh(study.server, study.run_id, outcome)
    _close(study.server, study.run_id, [], status)


@retry_while_unavailable
def _log_refresh(server: TrackingServer, run_id: str, outcome: Mapping[str, Any]) -> None:
    client = connect(server)
    for concept in outcome["concepts"]:
        text = f"{concept['state']}: {concept['reason']}"
        client.set_tag(run_id, f"refresh.{concept['concept']}", text[:MAX_TAG_LENGTH])
    client.log_dict(run_id, dict(outcome), "refresh.json")


def tracking_links(study: StudyRun) -> dict[str, str]:
    """Where a study is tracked, for its report: ``address`` without passwords, ``experiment`` and ``run``."""
    return {
        "address": redact(study.server.uri),
        "experiment": _experiment_of(study.server, study.run_id),
        "run": study.run_id,
    }


@retry_while_unavailable
def _experiment_of(server: TrackingServer, run_id: str) -> str:
    return connect(server).get_run(run_id).info.experiment_id


@retry_while_unavailable
def find_finished_run(server: TrackingServer, name: str, key: str) -> str | None:
    """The id of the finished run of a study that carries a key, or None."""
    client = connect(server)
    run = _find_run(client, _get_or_create_experiment(client, server, name), key)
    return run.info.run_id if run is not None and run.info.status == "FINISHED" else None


def log_adapter(study: StudyRun, adapter: AdapterRun) -> LoggedRun:
    """Log an adapter as a child run, as a logged model and as a version in the registry.

    Args:
        study: its parent run.
        adapter: what to log; a finished run that carries its key is reused.
    """
    return _log_adapter(study.server, study, adapter)


@retry_while_unavailable
def _log_adapter(server: TrackingServer, study: StudyRun, adapter: AdapterRun) -> LoggedRun:
    import mlflow
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.entities import Param, RunTag

    client, spec = connect(server), adapter.spec
    experiment = _get_or_create_experiment(client, server, study.name)
    existing = _find_run(client, experiment, adapter.key)
    if existing is not None and existing.info.status == "FINISHED":
        version = find_version(client, spec.concept, adapter.key)
        if version is not None:
            return LoggedRun(existing.info.run_id, cached=True, version=version)
    with mlflow.start_run(
        experiment_id=experiment,
        run_id=existing.info.run_id if existing else None,
        run_name=None if existing else spec.name,
        parent_run_id=None if existing else study.run_id,
        nested=True,
        tags=None if existing else {KEY_TAG: adapter.key, PROCESS_TAG: process_tag()},
    ) as run:
        run_id = run.info.run_id
        if existing is not None:
            _remove_partial_artifacts(client, experiment, run)
        tags = {"data.version": study.data_version.hash, **adapter.tags}
        client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in adapter.parameters.items()],
            tags=[RunTag(name, str(value)) for name, value in {**tags, PROCESS_TAG: process_tag()}.items()],
        )
        metrics = adapter.metrics(run.info.start_time)  # so that points logged before are the same points
        for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS_PER_BATCH])
        log_dataset(study.data_version, "training")
        client.log_table(run_id, pd.DataFrame(list(adapter.captions)), "captions.json")
        client.log_table(run_id, pd.DataFrame([asdict(score) for score in adapter.scores]), "scores.json")
        client.log_artifact(run_id, str(adapter.contact_sheet))
        client.log_artifact(run_id, str(adapter.file))
        _log_samples(client, run_id, adapter.samples)
        version = find_version(client, spec.concept, adapter.key)
        if version is None:
            version_tags = {
                **tags,
                "run": run_id,
                "base": adapter.base,
                "settings": json.dumps(adapter.settings.as_dict(), sort_keys=True),
                "scores": json.dumps({score.name: _round(score.value) for score in adapter.scores}),
                "adapter.file": adapter.file.name,
                "adapter.sha256": file_digest(adapter.file),
            }
            version = models.register(
                client, models.AdapterModel(spec, adapter.file, adapter.base), version_tags, run_id
            )
    client.set_registered_model_alias(spec.concept, "challenger", version)
    return LoggedRun(run_id, cached=False, version=version)


def _get_or_create_experiment(client: MlflowClient, server: TrackingServer, name: str) -> str:
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


def _find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The run that carries a key; a finished one rather than one that was begun."""
    runs = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time ASC"])
    return next((run for run in runs if run.info.status == "FINISHED"), runs[0] if runs else None)


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
    from PIL import Image

    for sample in samples:
        for number, file in enumerate(sample["images"]):
            with Image.open(file) as image:
                client.log_image(run_id, image, key=f"sample {number}", step=sample["step"], synchronous=True)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
