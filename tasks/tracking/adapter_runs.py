"""Log adapters as MLflow runs, below the run of their study; see `tasks.tracking.runs` on resuming."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.cache.integrity import file_digest
from lycoris.safety.redaction import redact, redact_values
from tasks.artifacts import ModelRef, RunSpec
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking import models
from tasks.tracking.client import connect
from tasks.tracking.dataset_source import log_dataset
from tasks.tracking.live_curves import LIVE_TAG, find_live_run
from tasks.tracking.models import KEY_TAG, find_version
from tasks.tracking.orphans import PROCESS_TAG, process_tag
from tasks.tracking.runs import MAX_PARAM_LENGTH, StudyRun, find_run, flatten, get_or_create_experiment
from tasks.trainings import AdapterSettings, TrainingSummary

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from lycoris.metrics import Score

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
class AdapterRun:
    """Everything that is logged of one adapter.

    Attributes:
        key: hash of everything its scores depend on.
        spec: which adapter of the study.
        curves: metric -> (step, value) in order.
        samples: ``{"step", "images"}`` records of images generated during training.
        captions: rows of the caption table.
        file: the safetensors file.
        contact_sheet: an overview of its images.
        base: model that the adapter belongs to.
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
    base: ModelRef
    lineage: Mapping[str, str]

    @property
    def tags(self) -> dict[str, Any]:
        """Of the run and of the registered version."""
        spec = self.spec
        if spec.checkpoint is None and "adapter.key" in self.lineage:  # the run that showed the training
            shown = {LIVE_TAG: self.lineage["adapter.key"]}
        else:
            shown = {}
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
            **shown,
            **({} if self.summary.continued_from is None else {"continued_from": self.summary.continued_from}),
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
            **flatten(self.settings.as_dict()),
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
def log_adapter(study: StudyRun, adapter: AdapterRun) -> LoggedRun:
    """Log an adapter as a child run, as a logged model and as a version in the registry.

    Args:
        adapter: what to log; a finished run that carries its key is reused.
    """
    import mlflow
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.entities import Param, RunTag

    client, spec = connect(study.server), adapter.spec
    experiment = get_or_create_experiment(client, study.server, study.name)
    existing = find_run(client, experiment, adapter.key)
    if existing is None and LIVE_TAG in adapter.tags:
        existing = find_live_run(client, experiment, adapter.tags[LIVE_TAG])
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
        tags = redact_values({"data.version": study.data_version.hash, **adapter.tags})
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
                "base": redact(adapter.base.source),
                "settings": json.dumps(redact_values(adapter.settings.as_dict()), sort_keys=True),
                "scores": json.dumps({score.name: _round(score.value) for score in adapter.scores}),
                "adapter.file": adapter.file.name,
                "adapter.sha256": file_digest(adapter.file),
            }
            version = models.register(client, adapter, version_tags, run_id)
    client.set_registered_model_alias(spec.concept, "challenger", version)
    return LoggedRun(run_id, cached=False, version=version)


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


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
