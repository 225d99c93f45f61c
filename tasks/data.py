"""Make the data of a run present."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from lycoris.errors import InputError
from lycoris.safety.redaction import redacting_errors
from tasks.data_versions.checkout import ensure_version, find_project
from tasks.data_versions.manifest import DataVersion
from tasks.data_versions.revisions import checkout_revision, versioned_project


@task(name="data", task_run_name="data")
@redacting_errors
def data_version(data: Path, project: Path, revision: str | None = None, checkouts: Path | None = None) -> DataVersion:
    """Make the data folder of a run present and return its version.

    Args:
        data: the folder; see `tasks.data_versions.checkout.ensure_version`.
        project: of data folders that are in no project of their own.
        revision: an earlier version to use instead; see `tasks.data_versions.revisions.resolve_revision`.
        checkouts: the folder to which earlier versions are written.
    """
    if revision is None:
        return ensure_version(data, find_project(data, project))
    if checkouts is None:
        raise InputError("Argument `checkouts` is required with `revision`.")
    return checkout_revision(revision, versioned_project(data, project), checkouts)
