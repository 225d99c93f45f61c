"""Log data versions as MLflow datasets whose source is a folder under DVC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.data_versions.manifest import DataVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_dataset(client: MlflowClient, run_id: str, version: DataVersion, context: str) -> None:
    """Log a data version as an input of a run.

    Args:
        context: what the run does with it, such as ``"training"``.
    """
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    from tasks.tracking.dvc_source import DVCSource

    source = DVCSource(path=str(version.path), hash=version.hash)
    dataset = MetaDataset(source, name=version.path.name, digest=version.hash[:36])  # type: ignore[abstract] # of MLflow
    tags = [InputTag("mlflow.data.context", context)]
    client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])
