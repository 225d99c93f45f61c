"""Register adapters as models in MLflow: one registered model per concept, one version per adapter."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.pocket import EMBEDDED_BASES
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import TrackingServer, all_pages, connect
from tasks.tracking.model_package import absolute_base, code_archive, pinned_requirements, required_packages

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

    from tasks.tracking.adapter_record import AdapterRun

KEY_TAG = "pipeline.key"
"""Tag of a run or version: hash of everything it depends on."""
PYFUNC_MODEL_FILE = Path(__file__).with_name("pyfunc_model.py")
MAX_DESCRIPTION_LENGTH = 5000
MAX_IDS_PER_QUERY = 500
"""Run ids in one query; databases limit how many values a query may have."""
NOT_FOUND_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes for a name that does not exist."""


def register(client: MlflowClient, adapter: AdapterRun, tags: Mapping[str, Any], run_id: str) -> str:
    """Create a version with its tags, or complete one that a killed process created for the same run.

    Returns:
        The version's number.
    """
    number = _log_model(client, adapter, tags, run_id, versions_of_run(client, run_id))
    for name, value in sorted(tags.items(), key=lambda tag: tag[0] == KEY_TAG):  # last: it says that all are there
        client.set_model_version_tag(adapter.spec.concept, number, name, str(value))
    client.update_model_version(adapter.spec.concept, number, adapter.description[:MAX_DESCRIPTION_LENGTH])
    return number


def _log_model(
    client: MlflowClient, adapter: AdapterRun, tags: Mapping[str, Any], run_id: str, existing: list[ModelVersion]
) -> str:
    begun = [version for version in existing if version.name == adapter.spec.concept]
    if begun and begun[0].status == "READY" and has_file(client, begun[0].name, begun[0].version, adapter.file.name):
        return str(begun[0].version)
    import mlflow
    from mlflow.models import Model

    with (
        tempfile.TemporaryDirectory() as folder,
        mlflow.start_run(run_id=run_id, nested=True),  # a model belongs to the experiment of the active run
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        code = Path(folder) / "lycoris.zip"
        code.write_bytes(code_archive())
        logged = Model.log(
            artifact_path=None,
            name=re.sub(r"[/:.%\"']", "_", adapter.spec.name),  # characters that MLflow does not allow in it
            flavor=_PyfuncFlavor,
            flavor_name="pyfunc.ModelFromCode",
            validate_serving_input=False,  # it would generate the images of the input example
            python_model=str(PYFUNC_MODEL_FILE),
            run_id=run_id,
            artifacts={"adapter": str(adapter.file), "code": str(code)},
            model_config={
                "base": absolute_base(adapter.base.source),
                "base_options": adapter.base.options.for_base,
                "embedded_bases": {name: str(folder) for name, folder in EMBEDDED_BASES.items()},
            },
            signature=_signature(),
            input_example=([_example_prompt(adapter)], {"seed": 1000}),
            pip_requirements=list(pinned_requirements(required_packages(adapter.base.options.precision))),
            registered_model_name=adapter.spec.concept,
            metadata=dict(tags),
        )
    return str(logged.registered_model_version)


class _PyfuncFlavor:
    """MLflow's Python models, as `Model.log` takes a kind of model; its own log function offers fewer options."""

    @staticmethod
    def save_model(*, validate_serving_input: bool, **options: Any) -> None:
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(**options)


def _example_prompt(adapter: AdapterRun) -> str:
    """A caption that the adapter was trained with."""
    return next((row["caption"] for row in adapter.captions if row["caption"]), adapter.spec.concept)


def _signature() -> ModelSignature:
    """Prompts in; the sampling options of `tasks.tracking.pyfunc_model` as parameters."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("seed", DataType.long, 1000),
                ParamSpec("steps", DataType.long, 25),
                ParamSpec("guidance", DataType.double, 0.0),
                ParamSpec("scale", DataType.double, 1.0),
                ParamSpec("format", DataType.string, "auto"),
            ]
        ),
    )


def versions_of_run(client: MlflowClient, run_id: str) -> list[ModelVersion]:
    """The versions that a run has registered."""
    return list(client.search_model_versions(f"run_id = '{run_id}'"))


def versions_of_runs(client: MlflowClient, run_ids: Sequence[str]) -> list[ModelVersion]:
    """The versions that any of some runs has registered."""
    versions: list[ModelVersion] = []
    for first in range(0, len(run_ids), MAX_IDS_PER_QUERY):
        ids = ", ".join(f"'{run_id}'" for run_id in run_ids[first : first + MAX_IDS_PER_QUERY])
        versions += all_pages(client.search_model_versions, f"run_id IN ({ids})")
    return versions


def find_version(client: MlflowClient, concept: str, key: str) -> str | None:
    """The number of the version of a concept's model that carries a key, or None."""
    found = _search_versions(client, f'name = "{concept}" and tags.`{KEY_TAG}` = "{key}"')
    return str(max(int(version.version) for version in found)) if found else None


def has_file(client: MlflowClient, concept: str, version: str, file: str) -> bool:
    """Whether a version's model still has its adapter file; `mlflow gc` may have deleted it."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        repository = get_artifact_repository(client.get_model_version_download_uri(concept, str(version)))
        return f"artifacts/{file}" in [entry.path for entry in repository.list_artifacts("artifacts")]
    except MlflowException as error:
        if error.error_code in NOT_FOUND_CODES:
            return False
        raise


def list_versions(client: MlflowClient, concept: str) -> list[ModelVersion]:
    """All versions of a concept's model."""
    return _search_versions(client, f'name = "{concept}"')


def _search_versions(client: MlflowClient, query: str) -> list[ModelVersion]:
    """Search model versions; none where MLflow rejects the query, as for a name with a quotation mark."""
    from mlflow.exceptions import MlflowException

    try:
        return list(client.search_model_versions(query))
    except MlflowException as error:
        if error.error_code in NOT_FOUND_CODES:
            return []
        raise


def version_by_alias(client: MlflowClient, concept: str, alias: str) -> ModelVersion | None:
    """The version of a concept's model that has an alias, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(concept, alias)
    except MlflowException as error:
        if error.error_code in NOT_FOUND_CODES:
            return None
        raise


@retry_while_unavailable
def download_file(server: TrackingServer, concept: str, version: str, file: str, folder: Path) -> Path:
    """Download a file of a version's model into a folder."""
    client = connect(server)
    import mlflow

    uri = client.get_model_version_download_uri(concept, version)  # an id; the name may have any characters
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        return Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts", dst_path=str(folder))) / file
