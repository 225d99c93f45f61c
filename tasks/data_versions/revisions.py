"""Earlier versions of the data: named by a git revision or by their hash, and written beside the workspace."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from pathlib import Path

from lycoris.cache.atomic import temporary_path
from lycoris.errors import InputError, missing_path_error
from tasks.data_versions.checkout import find_project, is_available, locate_version, materialize, write_version
from tasks.data_versions.ignore import build_own_manifest
from tasks.data_versions.manifest import (
    DataVersion,
    ManifestEntry,
    build_manifest,
    manifest_hash,
    parse_pointer,
    read_pointer,
)

HASH_PATTERN = re.compile(r"[0-9a-f]{32}(\.dir)?")
GIT_TIMEOUT_S = 60

logger = logging.getLogger("lycoris.data.versions")


def versioned_project(data: Path, default: Path) -> Path | None:
    """The project whose ``data.dvc`` versions a data folder, or None if none does."""
    project = find_project(data, default)
    is_own = Path(data) == Path("data") or Path(data).expanduser().resolve() == (project / "data").resolve()
    return project if is_own and (project / "data.dvc").is_file() else None


def resolve_revision(revision: str, project: Path | None) -> str:
    """The hash of the data version that a revision names.

    Args:
        revision: DVC's hash of a folder, or any git revision, for the version that its ``data.dvc`` records.
        project: the folder of ``data.dvc``; None is an error.

    Raises:
        InputError: the revision is unknown, or has no ``data.dvc``.
    """
    if project is None:
        raise InputError(f"Data revision `{revision}` was requested, but no data.dvc versions this data folder.")
    if HASH_PATTERN.fullmatch(revision):
        return revision.removesuffix(".dir") + ".dir"
    if not revision or revision.startswith("-") or any(ord(character) < 32 for character in revision):
        raise InputError(f"A data revision must be a git revision or a data version, but got `{revision!r}`.")
    commit = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InputError(
            f"`{revision}` is neither a data version (32 hexadecimal digits) nor a git revision of `{project}`."
        )
    content = _git(project, "show", f"{commit.decode().strip()}:./data.dvc")
    if content is None:
        raise InputError(f"Git revision `{revision}` of `{project}` has no data.dvc.")
    return parse_pointer(content, f"data.dvc of {revision}")


def checkout_revision(revision: str, project: Path | None, checkouts: Path) -> DataVersion:
    """Write the data of a revision to a folder of its own, unless it is there.

    Args:
        revision: see `resolve_revision`.
        project: the folder of ``data.dvc``; nothing in it changes but DVC's cache.
        checkouts: the folder that holds such folders, each named by its version.

    Raises:
        InputError: the revision is unknown, or no origin has its files.
    """
    version = resolve_revision(revision, project)
    target = (Path(checkouts) / version.removesuffix(".dir")).resolve()
    entries, size = build_manifest(target)
    if manifest_hash(entries) != version:
        if target.exists():  # somebody has changed it
            modified = temporary_path(target.parent, target.name)
            target.rename(modified)
            shutil.rmtree(modified, ignore_errors=True)
        origin = write_version(version, Path(project or ""), target)
        logger.info("Data version %s was written to %s, from the %s.", version, target, origin)
        entries, size = build_manifest(target)
    return DataVersion(version, target, len(entries), size, "earlier")


def list_version(revision: str | None, data: Path, project: Path) -> tuple[str, list[ManifestEntry]]:
    """A version's hash and manifest; None stands for the data folder as it is.

    Raises:
        InputError: the revision is unknown, no origin has its manifest, or there is no data folder.
    """
    if revision is not None:
        version = resolve_revision(revision, project)
        return version, locate_version(version, project)[1]
    if not Path(data).is_dir():
        raise missing_path_error("data folder", data)
    is_own = Path(data).resolve() == (Path(project) / "data").resolve()
    entries, _ = build_own_manifest(Path(data), project) if is_own else build_manifest(Path(data))
    return manifest_hash(entries), entries


def sync_to_pointer(project: Path) -> str:
    """Make ``data/`` the version that ``data.dvc`` records; data that is in no version is never deleted.

    Returns:
        The version.

    Raises:
        InputError: ``data/`` has changes that no version in the cache has, or no origin has the recorded version.
    """
    project = Path(project).resolve()
    folder, version = project / "data", read_pointer(project / "data.dvc")
    if not folder.exists():
        materialize(project)
        return version
    present = manifest_hash(build_own_manifest(folder, project)[0])
    if present == version:
        return version
    if not is_available(present, project):
        raise InputError(
            f"`{folder}` was changed since its last version, and data.dvc records another one, {version}: record the "
            "change as a version (`git checkout -b NAME`, `lycoris run`, `git commit data.dvc`) or move it elsewhere."
        )
    earlier = temporary_path(project, "data-earlier")
    folder.rename(earlier)
    try:
        origin = write_version(version, project, folder)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier)
    logger.info("data/ is version %s now, from the %s; it was %s.", version, origin, present)
    return version


def _git(project: Path, *arguments: str) -> bytes | None:
    """Git's output, or None if it reports an error or is not installed."""
    command = ["git", "-C", str(project), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=GIT_TIMEOUT_S)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None
