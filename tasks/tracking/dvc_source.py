"""A dataset source of MLflow that names a folder under DVC; MLflow finds it by the package's entry point."""

from __future__ import annotations

from typing import Any

from mlflow.data.dataset_source import DatasetSource


class DVCSource(DatasetSource):  # type: ignore[type-arg, unused-ignore]
    """A folder under DVC.

    Args:
        path: where it was when it was logged.
        hash: DVC's, of its version.
    """

    def __init__(self, path: str, hash: str) -> None:
        self.path, self.hash = path, hash

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, **_: Any) -> str:
        """The folder; it may be another version by now."""
        return self.path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DVCSource:
        raise NotImplementedError("A DVC folder is named by its path and hash.")

    def to_dict(self) -> dict[str, str]:
        """What MLflow stores."""
        return {"path": self.path, "hash": self.hash}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> DVCSource:
        """The source that was stored."""
        return cls(**source_dict)
