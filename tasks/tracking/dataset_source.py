"""Log data versions as MLflow datasets whose source is a folder under DVC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    source = _dvc_source_class()(path=str(version.path), hash=version.hash)
    dataset = MetaDataset(source, name=version.path.name, digest=version.hash[:36])  # type: ignore[abstract] # of MLflow
    tags = [InputTag("mlflow.data.context", context)]
    client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])


def _dvc_source_class() -> type[Any]:
    """A dataset source that names a folder under DVC by its path and hash; registered with MLflow once."""
    from mlflow.data.dataset_source import DatasetSource
    from mlflow.data.dataset_source_registry import get_registered_sources, register_dataset_source

    registered: list[Any] = get_registered_sources()
    existing = next((source for source in registered if source.__name__ == "DVCSource"), None)
    if existing is not None:
        return existing

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
            raise NotImplementedError("A DVC folder is named by its path and hash.")

        def to_dict(self) -> dict[str, str]:
            return {"path": self.path, "hash": self.hash}

        @classmethod
        def from_dict(cls, source_dict: dict[str, str]) -> DVCSource:
            return cls(**source_dict)

    register_dataset_source(DVCSource)  # type: ignore[arg-type] # MLflow means the class
    return DVCSource
