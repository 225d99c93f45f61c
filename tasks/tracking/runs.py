"""Runs, scores, adapters and the registry in MLflow: the only place of the pipeline that talks to it.

Logging is idempotent: what carries the tag ``pipeline.key`` of finished work is found and left, what was
begun by a process that died is resumed, and an alias moves last of all.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import file_digest, is_process_running
from lycoris.safety.redaction import redact
from tasks.artifacts import RunSpec
from tasks.data_versions.dvc import DataVersion
from tasks.runtime.retry import MLFLOW_MAX_RETRIES, retry_while_unavailable
from tasks.tracking.orphans import PROCESS_TAG, close_orphaned_runs, process_tag

KEY_TAG = "pipeline.key"
PREVIOUS_CHAMPION_TAG = "champion.before"
"""On a version: the champion that it took the place of."""
REJECTED_TAG = "champion.taken_back"
"""On a version: why a person took it back."""
PYFUNC_MODEL_FILE = Path(__file__).with_name("pyfunc_model.py")
NOT_FOUND_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers where there is nothing of a name."""
MAX_TAG_LENGTH = 5000
APPENDED_ARTIFACTS = frozenset({"captions.json", "scores.json", "images"})
"""Artifacts of an adapter's run that grow when logged again."""
MAX_PARAM_LENGTH = 250  # characters of a parameter's value that every MLflow store keeps


@dataclass(frozen=True)
class LoggedRun:
    """Where an adapter was logged, and its version in the registry."""

    run_id: str
    cached: bool
    version: str


@dataclass(frozen=True)
class TrackingServer:
    """The tracking server or database.

    Attributes:
        uri: as MLflow understands it.
        artifacts: where a new experiment's files go, None to leave it to the server.
    """

    uri: str
    artifact_location: str | None


def tracking_server(output: Path) -> TrackingServer:
    """`MLFLOW_TRACKING_URI` where the user set one, else SQLite and a folder below `output`."""
    uri = _user_environment("MLFLOW_TRACKING_URI")
    if uri:
        return TrackingServer(uri, None)
    folder = (Path(output) / "mlflow").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    if not database.exists():
        _create_database(database)
    return TrackingServer(_sqlite_uri(database), (folder / "artifacts").as_uri())


def _sqlite_uri(database: Path) -> str:
    return f"sqlite:///{database.as_posix()}"


def _create_database(database: Path) -> None:
    """A new database, beside its place until it is whole: MLflow cannot go on with one it has half made."""
    _configure_mlflow()
    from mlflow import MlflowClient

    for left in database.parent.glob(f".[0-9]*-{database.name}*"):
        if not is_process_running(int(left.name[1:].partition("-")[0])):
            left.unlink(missing_ok=True)
    aside = database.with_name(f".{os.getpid()}-{database.name}")
    try:
        MlflowClient(_sqlite_uri(aside), _sqlite_uri(aside)).search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another process made one meanwhile, perhaps with runs in it
            os.link(aside, database)
    finally:
        aside.unlink(missing_ok=True)


def _connect(server: TrackingServer) -> Any:
    _configure_mlflow()
    import mlflow

    addresses = {
        "MLFLOW_TRACKING_URI": server.uri,
        "MLFLOW_REGISTRY_URI": _user_environment("MLFLOW_REGISTRY_URI") or server.uri,
    }
    _own_environment.update({name: uri for name, uri in addresses.items() if os.environ.get(name) != uri})
    mlflow.set_tracking_uri(addresses["MLFLOW_TRACKING_URI"])
    mlflow.set_registry_uri(addresses["MLFLOW_REGISTRY_URI"])
    return mlflow.MlflowClient()


_own_environment: dict[str, str] = {}
"""What MLflow has put into the environment when told an address by this process: not the user's word."""


def _user_environment(variable: str) -> str | None:
    """The user's value of an environment variable that MLflow writes too."""
    value = os.environ.get(variable)
    return None if value == _own_environment.get(variable) else value


def _configure_mlflow() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MLFLOW_MAX_RETRIES)
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import logging

    import mlflow  # noqa: F401 - it sets its levels on import

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log they also raise


def _get_or_create_experiment(client: Any, server: TrackingServer, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=server.artifact_location)
        except MlflowException:  # another process was quicker
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _find_run(client: Any, experiment: str, key: str) -> Any | None:
    """The run that carries the key; a finished one rather than a begun one."""
    runs = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time ASC"])
    return next((run for run in runs if run.info.status == "FINISHED"), runs[0] if runs else None)


@retry_while_unavailable
def open_study(
    server: TrackingServer, name: str, key: str, settings: Mapping[str, Any], version: DataVersion, kind: str = "study"
) -> str:
    """The parent run of a study, made or opened again, with the data version as its dataset input.

    Args:
        place: of tracking.
        name: the study's name, which is the experiment's.
        key: of the study's settings; the same settings go on in the same run.
        settings: logged as parameters, nested names joined by dots.
        version: of the data.
        kind: what the run is, ``"study"`` or ``"refresh"``.

    Returns:
        The run's id.
    """
    import mlflow

    client = _connect(server)
    experiment = _get_or_create_experiment(client, server, name)
    found = _find_run(client, experiment, key)
    run = mlflow.start_run(
        experiment_id=experiment,
        run_id=found.info.run_id if found else None,
        run_name=None if found else name if kind == "study" else f"{name} {kind}",
        tags=None if found else {KEY_TAG: key, PROCESS_TAG: process_tag(), "pipeline.kind": kind},
    )
    try:
        known = run.data.params  # of a process that died, perhaps not all of them
        mlflow.log_params(
            {
                name: redact(str(value))[:MAX_PARAM_LENGTH]
                for name, value in _flatten(settings).items()
                if name not in known
            }
        )
        _log_dataset(version, "data")
        mlflow.set_tags({"data.version": version.hash, PROCESS_TAG: process_tag()})
    finally:
        mlflow.end_run("RUNNING")  # it goes on, and only `close_study` says that it is finished
    close_orphaned_runs(client, experiment)
    return run.info.run_id


@retry_while_unavailable
def close_study(
    server: TrackingServer, run_id: str, report: Path, scores: Path | None, status: str = "FINISHED"
) -> None:
    """End a study's parent run, with its report and its table of scores as artifacts."""
    client = _connect(server)
    client.log_artifact(run_id, str(report))
    if scores is not None:
        client.log_artifact(run_id, str(scores))
    client.set_terminated(run_id, status)


@retry_while_unavailable
def tracking_links(server: TrackingServer, run_id: str) -> dict[str, str]:
    """Where a study is tracked, as a page of it tells: ``address`` without passwords, ``experiment`` and ``run``."""
    return {
        "address": redact(server.uri),
        "experiment": _connect(server).get_run(run_id).info.experiment_id,
        "run": run_id,
    }


@retry_while_unavailable
def find_finished_run(server: TrackingServer, name: str, key: str) -> str | None:
    """The id of the run of a study that carries a key and is finished, or None."""
    client = _connect(server)
    found = _find_run(client, _get_or_create_experiment(client, server, name), key)
    return found.info.run_id if found is not None and found.info.status == "FINISHED" else None


@retry_while_unavailable
def close_refresh(server: TrackingServer, run_id: str, outcome: Mapping[str, Any], status: str) -> None:
    """End a refresh's run, with what it came to."""
    client = _connect(server)
    for concept in outcome["concepts"]:
        client.set_tag(
            run_id, f"refresh.{concept['concept']}", f"{concept['state']}: {concept['reason']}"[:MAX_TAG_LENGTH]
        )
    client.log_dict(run_id, dict(outcome), "refresh.json")
    client.set_terminated(run_id, status)


def _log_dataset(version: DataVersion, context: str) -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset

    source = _dvc_source_class()(path=str(version.path), hash=version.hash)
    known = MetaDataset(source, name=version.path.name, digest=version.hash[:36])  # type: ignore[abstract] # of MLflow
    mlflow.log_input(known, context=context)


def _dvc_source_class() -> type[Any]:
    """A dataset source that says where a version's bytes are: a folder under DVC, by its hash."""
    from mlflow.data.dataset_source import DatasetSource
    from mlflow.data.dataset_source_registry import get_registered_sources, register_dataset_source

    kinds: list[Any] = get_registered_sources()
    known = next((kind for kind in kinds if kind.__name__ == "DVCSource"), None)
    if known is not None:
        return known

    class DVCSource(DatasetSource):
        def __init__(self, path: str, hash: str):
            self.path, self.hash = path, hash

        @staticmethod
        def _get_source_type() -> str:
            return "dvc"

        def load(self, **_: Any) -> str:
            return self.path

        @staticmethod
        def _can_resolve(raw_source: Any) -> bool:
            return False

        @classmethod
        def _resolve(cls, raw_source: Any) -> DVCSource:
            raise NotImplementedError("A DVC folder is named by path and hash.")

        def to_dict(self) -> dict[str, str]:
            return {"path": self.path, "hash": self.hash}

        @classmethod
        def from_dict(cls, source_dict: dict[str, str]) -> DVCSource:
            return cls(**source_dict)

    register_dataset_source(DVCSource)  # type: ignore[arg-type] # MLflow means the class
    return DVCSource


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


@task(name="tracking", task_run_name="tracking {cell.name}")
@retry_while_unavailable
def track_adapter(
    server: TrackingServer,
    study: str,
    parent: str,
    key: str,
    cell: RunSpec,
    *,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    curves: Mapping[str, Sequence[tuple[int, float]]],
    samples: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    captions: Sequence[Mapping[str, str]],
    adapter: Path,
    grid: Path,
    base: str,
    version: DataVersion,
    lineage: Mapping[str, str],
) -> LoggedRun:
    """Log one adapter as a child run, as a logged model and as a version in the registry.

    Args:
        place: of tracking.
        study: the experiment's name.
        parent: the study's run.
        key: of everything the scores depend on; a finished run that carries it is returned as it is.
        cell: which adapter.
        settings: logged as parameters.
        facts: of the training: ``step`` and ``epoch`` after which the adapter was taken.
        curves: metric -> (step, value) in order.
        samples: what was drawn on the way, ``{"step", "images"}``.
        scores: records of `lycoris.metrics.Score`.
        captions: rows of the caption table.
        adapter: the safetensors file.
        grid: a picture of samples.
        base: the base the adapter belongs to, for drawing with the logged model.
        version: of the data.
        lineage: further tags: commit, keys.

    Returns:
        The run, its version in the registry, and whether both were there.
    """
    import mlflow
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.entities import Metric, Param, RunTag

    client = _connect(server)
    experiment = _get_or_create_experiment(client, server, study)
    found = _find_run(client, experiment, key)
    if found is not None and found.info.status == "FINISHED" and (logged := _find_version(client, cell.concept, key)):
        return LoggedRun(found.info.run_id, cached=True, version=logged)
    with mlflow.start_run(
        experiment_id=experiment,
        run_id=found.info.run_id if found else None,
        run_name=None if found else cell.name,
        parent_run_id=None if found else parent,
        nested=True,
        tags=None if found else {KEY_TAG: key, PROCESS_TAG: process_tag()},
    ) as run:
        run_id = run.info.run_id
        now = run.info.start_time  # so that points logged before are the same points
        if found is not None:
            _remove_partial_artifacts(client, experiment, run)
        taken = {"step": facts["step"], "epoch": facts["epoch"]}
        flat = {"concept": cell.concept, "captions": cell.strategy, "seed": cell.seed, **taken, **_flatten(settings)}
        tags = {
            KEY_TAG: key,
            PROCESS_TAG: process_tag(),
            "pipeline.kind": "adapter",
            "concept": cell.concept,
            "algorithm": cell.algorithm,
            "captions": cell.strategy,
            "seed": cell.seed,
            "data.version": version.hash,
            **taken,
            **lineage,
        }
        if cell.checkpoint is not None:
            tags["checkpoint"] = f"{cell.checkpoint_unit} {cell.checkpoint}"
        metrics = [Metric(name, float(value), now, step) for name, points in curves.items() for step, value in points]
        for score in scores:
            metrics += [
                Metric(f"{prefix}{score['name']}", float(score[field]), now, 0)
                for prefix, field in (("", "value"), ("base/", "base"), ("difference/", "difference"))
                if score.get(field) is not None
            ]
        client.log_batch(
            run_id,
            params=[Param(name, redact(str(value))[:MAX_PARAM_LENGTH]) for name, value in flat.items()],
            tags=[RunTag(name, str(value)) for name, value in tags.items()],
        )
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
        _log_dataset(version, "training")
        client.log_table(run_id, pd.DataFrame(list(captions)), "captions.json")
        client.log_table(run_id, pd.DataFrame(list(scores)), "scores.json")
        client.log_artifact(run_id, str(grid))
        client.log_artifact(run_id, str(adapter))
        _log_samples(client, run_id, samples)
        number = _find_version(client, cell.concept, key)
        if number is None:
            known = {
                **{name: value for name, value in tags.items() if name != PROCESS_TAG},
                "run": run_id,
                "base": base,
                "settings": json.dumps(settings, sort_keys=True),
                "scores": json.dumps({score["name"]: _round(score["value"]) for score in scores}),
                "adapter.file": adapter.name,
                "adapter.sha256": file_digest(adapter),
            }
            number = _register_version(mlflow, client, cell, adapter, base, known, run_id)
    client.set_registered_model_alias(cell.concept, "challenger", number)
    return LoggedRun(run_id, cached=False, version=number)


def _remove_partial_artifacts(client: Any, experiment: str, run: Any) -> None:
    """Remove what a process that died has logged of a run, where logging it again would add to it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    files = get_artifact_repository(run.info.artifact_uri)
    for name in APPENDED_ARTIFACTS.intersection(entry.path for entry in files.list_artifacts()):
        files.delete_artifacts(name)
    used = {version.source.rpartition("/")[2] for version in _versions_of_run(client, run.info.run_id)}
    for model in client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'"):
        if model.model_id not in used:
            client.delete_logged_model(model.model_id)


def _versions_of_run(client: Any, run_id: str) -> list[Any]:
    return list(client.search_model_versions(f"run_id = '{run_id}'"))


def _log_samples(client: Any, run_id: str, samples: Sequence[Mapping[str, Any]]) -> None:
    """Pictures by step, a series a prompt and seed."""
    from PIL import Image

    for moment in samples:
        for number, file in enumerate(moment["images"]):
            with Image.open(file) as picture:
                client.log_image(run_id, picture, key=f"sample {number}", step=moment["step"], synchronous=True)


def _find_version(client: Any, concept: str, key: str) -> str | None:
    """The version of a concept's model that carries the key."""
    found = _search_versions(client, f'name = "{concept}" and tags.`{KEY_TAG}` = "{key}"')
    return str(found[0].version) if found else None


def _search_versions(client: Any, query: str) -> list[Any]:
    """Versions of models; none where the question cannot be asked, as of a name with a quotation mark in it."""
    from mlflow.exceptions import MlflowException

    try:
        return list(client.search_model_versions(query))
    except MlflowException as error:
        if error.error_code in NOT_FOUND_CODES:
            return []
        raise


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _register_version(
    mlflow: Any, client: Any, cell: RunSpec, adapter: Path, base: str, tags: Mapping[str, Any], run_id: str
) -> str:
    """Make a version with its tags, or give their tags to one that a process which died made of the same run."""
    number = _log_model(mlflow, client, cell, adapter, base, tags, run_id)
    for name, value in sorted(tags.items(), key=lambda tag: tag[0] == KEY_TAG):  # the key says that all are there
        client.set_model_version_tag(cell.concept, number, name, str(value))
    return number


def _log_model(
    mlflow: Any, client: Any, cell: RunSpec, adapter: Path, base: str, tags: Mapping[str, Any], run_id: str
) -> str:
    begun = [each for each in _versions_of_run(client, run_id) if each.name == cell.concept]
    if begun and begun[0].status == "READY":
        return str(begun[0].version)
    import warnings

    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("seed", DataType.long, 1000),
                ParamSpec("steps", DataType.long, 25),
                ParamSpec("guidance", DataType.double, 7.0),
                ParamSpec("scale", DataType.double, 1.0),
            ]
        ),
    )
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logged = mlflow.pyfunc.log_model(
            name=re.sub(r"[/:.%\"']", "_", cell.name),  # as MLflow's names of logged models must be
            python_model=str(PYFUNC_MODEL_FILE),
            artifacts={"adapter": str(adapter)},
            model_config={"base": base},
            signature=signature,
            pip_requirements=["lycoris-pipeline"],
            registered_model_name=cell.concept,
            metadata=dict(tags),
        )
    return str(logged.registered_model_version)


def registry_client(server: TrackingServer) -> Any:
    """MLflow's client of the registry; `tasks.tracking.registry` says what is done with it."""
    return _connect(server)


def existing_server(output: Path) -> TrackingServer | None:
    """The registry that the runs of an output folder went to, or None where none was made yet."""
    made = (Path(output) / "mlflow" / "mlflow.db").is_file()
    return tracking_server(output) if made or _user_environment("MLFLOW_TRACKING_URI") else None


def version_by_alias(client: Any, concept: str, alias: str) -> Any | None:
    """The version of a concept's model that has an alias, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(concept, alias)
    except MlflowException as error:
        if error.error_code in NOT_FOUND_CODES:
            return None
        raise


def list_versions(client: Any, concept: str) -> list[Any]:
    return _search_versions(client, f'name = "{concept}"')


@retry_while_unavailable
def download_file(server: TrackingServer, concept: str, version: str, file: str, folder: Path) -> Path:
    """Fetch a file of a version's model into a folder."""
    client = _connect(server)
    import mlflow

    model = client.get_model_version_download_uri(concept, version)  # its id, whatever the concept's name is made of
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        return Path(mlflow.artifacts.download_artifacts(f"{model}/artifacts", dst_path=str(folder))) / file


@task(name="registry", task_run_name="registry {concept}")
@retry_while_unavailable
def promote_to_champion(server: TrackingServer, concept: str, version: str, reason: str) -> bool:
    """Give a concept's version the alias `champion`, the one before it `previous`.

    Returns:
        False, and nothing is done, where a person has taken this version back before.
    """
    client = _connect(server)
    before = version_by_alias(client, concept, "champion")
    if before is not None and str(before.version) == version:
        return True
    if REJECTED_TAG in client.get_model_version(concept, version).tags:
        return False
    client.set_model_version_tag(concept, version, "champion.reason", reason)
    if before is not None:
        client.set_model_version_tag(concept, version, PREVIOUS_CHAMPION_TAG, before.version)
        client.set_registered_model_alias(concept, "previous", before.version)
    client.set_registered_model_alias(concept, "champion", version)
    return True
