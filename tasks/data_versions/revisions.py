"""Data of an earlier version: found by a git revision or by its hash, and written beside the workspace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from prefect import task

from lycoris.errors import InputError
from tasks.data_versions import dvc
from tasks.data_versions.dvc import DataVersion, ManifestEntry, Notice

HASH_PATTERN = re.compile(r"[0-9a-f]{32}(\.dir)?")


@task(name="data")
def data_version(data: Path, project: Path, revision: str | None = None, checkouts: Path | None = None) -> DataVersion:
    """Make the data folder of a run present, and tell which version it is.

    Args:
        data: the folder; see `tasks.data_versions.dvc.version`.
        project: of folders that lie in no project of their own.
        revision: an earlier version instead; see `at`.
        place: where earlier versions are written.
    """
    if revision is None:
        return dvc.ensure_version(data, dvc.find_project(data, project), notice=_log)
    if checkouts is None:
        raise InputError("Argument `place` must be given with `revision`.")
    return checkout_revision(revision, versioned_project(data, project), checkouts, notice=_log)


def versioned_project(data: Path, default: Path) -> Path | None:
    """The project whose ``data.dvc`` versions a data folder, or None for a folder that none does."""
    project = dvc.find_project(data, default)
    ours = Path(data) == Path("data") or Path(data).expanduser().resolve() == (project / "data").resolve()
    return project if ours and (project / "data.dvc").is_file() else None


def resolve_revision(revision: str, project: Path | None) -> str:
    """The hash of the data version that a name stands for.

    Args:
        revision: DVC's hash of a folder, or any git revision: the version that its ``data.dvc`` records.
        project: the folder of ``data.dvc``; None, of data without one, is refused.

    Raises:
        InputError: it is neither, or the revision has no such file.
    """
    if project is None:
        raise InputError(f"Data revision `{revision}` was asked for, but no data.dvc versions this data folder.")
    if HASH_PATTERN.fullmatch(revision):
        return revision.removesuffix(".dir") + ".dir"
    if not revision or revision.startswith("-") or any(ord(character) < 32 for character in revision):
        raise InputError(f"A data revision must be a git revision or a data version, but got `{revision!r}`.")
    commit = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InputError(f"`{revision}` is no data version (32 hexadecimal digits) and no git revision of `{project}`.")
    content = _git(project, "show", f"{commit.decode().strip()}:./data.dvc")
    if content is None:
        raise InputError(f"Git revision `{revision}` of `{project}` has no data.dvc.")
    return dvc.parse_pointer(content, f"data.dvc of {revision}")


def checkout_revision(
    revision: str, project: Path | None, checkouts: Path, notice: Notice = lambda _: None
) -> DataVersion:
    """The data of a revision as a folder of its own, written once and kept.

    Args:
        revision: see `resolve`.
        project: the folder of ``data.dvc``; nothing in it is changed but DVC's cache.
        place: the folder that holds such folders, each named by its version.
        notice: told what was done.

    Raises:
        InputError: the revision is unknown, or its bytes are nowhere.
    """
    wanted = resolve_revision(revision, project)
    assert project is not None
    target = (Path(checkouts) / wanted.removesuffix(".dir")).resolve()
    entries, size = dvc.build_manifest(target)
    if dvc.manifest_hash(entries) != wanted:
        if target.exists():  # somebody wrote into it
            spoilt = target.with_name(f".{target.name}-{os.getpid()}.spoilt")
            target.rename(spoilt)
            shutil.rmtree(spoilt, ignore_errors=True)
        origin = dvc.write_version(wanted, project, target, notice)
        notice(f"Data version {wanted} was written to {target}, from the {origin}.")
        entries, size = dvc.build_manifest(target)
    return DataVersion(wanted, target, len(entries), size, "earlier")


def list_version(revision: str | None, data: Path, project: Path) -> tuple[str, list[ManifestEntry]]:
    """A version's hash and its list of files; None stands for the data folder as it lies.

    Raises:
        InputError: the revision is unknown, its list is nowhere, or there is no folder.
    """
    if revision is not None:
        wanted = resolve_revision(revision, project)
        return wanted, dvc.locate_version(wanted, project)[1]
    if not Path(data).is_dir():
        raise InputError(f"There is no data folder `{data}`.")
    entries, _ = dvc.build_manifest(Path(data))
    return dvc.manifest_hash(entries), entries


def sync_to_pointer(project: Path, notice: Notice = lambda _: None) -> str:
    """Make ``data/`` the version that ``data.dvc`` records; what no version keeps is never lost.

    Returns:
        The version.

    Raises:
        InputError: ``data/`` holds something that no version in the cache has, or the version is nowhere.
    """
    project = Path(project).resolve()
    folder, wanted = project / "data", dvc.read_pointer(project / "data.dvc")
    if not folder.exists():
        dvc.materialize(project, notice)
        return wanted
    present = dvc.manifest_hash(dvc.build_manifest(folder)[0])
    if present == wanted:
        return wanted
    if not dvc.is_available(present, project):
        raise InputError(
            f"`{folder}` was changed since its last version, and data.dvc records another one, {wanted}: keep the "
            "change as a version (`git checkout -b NAME`, `lycoris run`, `git commit data.dvc`) or move it away."
        )
    earlier = project / f".data-earlier-{os.getpid()}"
    folder.rename(earlier)
    try:
        origin = dvc.write_version(wanted, project, folder, notice)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier)
    notice(f"data/ is version {wanted} now, from the {origin}; it was {present}.")
    return wanted


def _git(project: Path, *arguments: str) -> bytes | None:
    """What git answers, or None where it refuses or there is none."""
    try:
        done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True, check=False, timeout=60)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
