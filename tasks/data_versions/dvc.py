"""Record, fetch, push and remove versions of ``data/`` with DVC; no other module imports it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lycoris.errors import InputError
from tasks.data_versions.manifest import read_pointer
from tasks.runtime.library_logging import quiet_library

if TYPE_CHECKING:
    from dvc.config import Config
    from dvc.repo import Repo

ResultT = TypeVar("ResultT")
LOCK_RETRY_S = 0.5


def dvc_dir(project: Path) -> Path | None:
    """The ``.dvc`` folder of the DVC repository that a folder is in, or None."""
    return next((folder / ".dvc" for folder in (project, *project.parents) if (folder / ".dvc").is_dir()), None)


def cache_dir(project: Path) -> Path:
    """The folder in which DVC keeps the files of a project by their MD5; it need not exist.

    Raises:
        InputError: DVC's configuration cannot be read.
    """
    folder = dvc_dir(project) or project / ".dvc"
    return Path(_config(project).get("cache", {}).get("dir") or folder / "cache") / "files" / "md5"


def cached_file(cache: Path, md5: str) -> Path:
    """The path of a file, or of a manifest, in the cache."""
    return cache / md5[:2] / md5[2:]


def has_remote(project: Path) -> bool:
    """Whether a DVC remote is configured.

    Raises:
        InputError: DVC's configuration cannot be read.
    """
    return bool(_config(project).get("remote"))


def _config(project: Path) -> Config | dict[str, Any]:
    """DVC's configuration of a project, with that of the user and the system; empty outside of a DVC repository."""
    folder = dvc_dir(project)
    if folder is None:
        return {}
    from dvc.config import Config, ConfigError

    try:
        return Config(str(folder), validate=False)  # a remote of a kind that is not installed is named where it is used
    except (ConfigError, UnicodeDecodeError) as error:
        raise InputError(f"The DVC configuration in `{folder}` cannot be read: {error}") from error


def create_repository(folder: Path) -> None:
    """Make a folder a DVC repository: of its git repository, else one without git.

    Raises:
        InputError: DVC cannot do it.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    quiet_library("dvc")
    parents = (folder, *folder.resolve().parents)
    root = next((parent for parent in parents if (parent / ".git").exists()), None)
    try:
        Repo.init(str(folder), no_scm=root is None, subdir=root is not None and root != folder.resolve()).close()
    except DvcException as error:
        raise InputError(f"DVC refused for `{folder}`: {error}") from error


def add(folder: Path, project: Path) -> None:
    """Record a data folder as it is: its files go to the cache, its hash to the pointer file.

    Raises:
        InputError: DVC cannot do it.
    """
    with_repo(project, lambda repo: repo.add(str(folder)))


def add_to_cache(project: Path) -> None:
    """Bring ``data/`` into the cache if its version is not there, as where the package supplied it.

    Raises:
        InputError: DVC cannot do it.
    """
    version = read_pointer(project / "data.dvc")
    if (project / "data").is_dir() and not cached_file(cache_dir(project), version).is_file():
        add(project / "data", project)


def without_ignored(files: Sequence[Path], project: Path) -> list[Path]:
    """Files that no ``.dvcignore`` of a project names.

    Raises:
        InputError: DVC cannot do it.
    """
    return with_repo(
        project, lambda repo: [file for file in files if not repo.dvcignore.is_ignored_file(str(file.absolute()))]
    )


def fetch(versions: Sequence[str], project: Path, remote: str | None = None) -> int:
    """Download versions from a DVC remote into the cache, and return how many files were transferred.

    Args:
        versions: hashes.
        project: folder of the DVC repository.
        remote: its name; None for the default remote.

    Raises:
        InputError: there is no such remote, or it lacks a file.
    """
    return _transfer("pull", versions, project, remote)


def push(versions: Sequence[str], project: Path, remote: str | None = None) -> int:
    """Upload versions from the cache to a DVC remote, and return how many files were transferred.

    Args:
        versions: hashes.
        project: folder of the DVC repository.
        remote: its name; None for the default remote.

    Raises:
        InputError: there is no such remote, the cache lacks a file, or the remote accepts none.
    """
    project = Path(project).resolve()
    cache = cache_dir(project)
    for version in versions:
        if version == read_pointer(project / "data.dvc"):
            add_to_cache(project)
        if not cached_file(cache, version).is_file():
            raise InputError(f"Data version {version} is not in the cache `{cache}`, so it cannot be pushed.")
    return _transfer("push", versions, project, remote)


def _transfer(direction: Literal["pull", "push"], versions: Sequence[str], project: Path, remote: str | None) -> int:
    """Transfer versions by their hashes, so that the remotes configured now serve old versions as well."""
    project = Path(project).resolve()
    cache = cache_dir(project)

    def transfer(repo: Repo) -> int:
        from dvc_data.hashfile.hash_info import HashInfo

        def transfer_files(version: str, hashes: Sequence[str]) -> int:
            result = getattr(repo.cloud, direction)({HashInfo("md5", each) for each in hashes}, remote=remote)
            if result.failed:
                raise InputError(f"{len(result.failed)} files of data version {version} could not be {direction}ed.")
            return len(result.transferred)

        count = 0
        for version in versions:
            manifest = cached_file(cache, version)
            if not manifest.is_file():
                count += transfer_files(version, [version])
            if not manifest.is_file():
                raise InputError(f"The DVC remote does not have data version {version}.")
            entries = json.loads(manifest.read_bytes())
            count += transfer_files(version, [version, *(entry["md5"] for entry in entries)])
        return count

    return with_repo(project, lambda repo: _with_lock(repo, transfer))


def remove(version: str, project: Path) -> int:
    """Delete a version from the cache: its manifest, and the files that no other version there has.

    Returns:
        How many files were deleted.

    Raises:
        InputError: ``data.dvc`` records the version, or the cache does not have it.
    """
    project = Path(project).resolve()
    cache = cache_dir(project)
    manifest = cached_file(cache, version)
    if version == read_pointer(project / "data.dvc"):
        raise InputError(f"Data version {version} is the one that data.dvc records: it cannot be removed.")
    if not manifest.is_file():
        raise InputError(f"Data version {version} is not in the cache `{cache}`.")

    def delete(_: Repo) -> int:
        others = [json.loads(path.read_bytes()) for path in cache.glob("*/*.dir") if path != manifest]
        needed = {entry["md5"] for entries in others for entry in entries}
        unneeded = {entry["md5"] for entry in json.loads(manifest.read_bytes())} - needed
        manifest.unlink()  # first: a manifest without all of its files would pass for a complete version
        for md5 in unneeded:
            cached_file(cache, md5).unlink(missing_ok=True)
        return len(unneeded)

    return with_repo(project, lambda repo: _with_lock(repo, delete))


def _with_lock(repo: Repo, action: Callable[[Repo], ResultT]) -> ResultT:
    with repo.lock:
        return action(repo)


def with_repo(project: Path, action: Callable[[Repo], ResultT], attempts: int = 5) -> ResultT:
    """Call a function with the DVC repository, and again while another process holds its lock.

    Raises:
        InputError: DVC reports an error, or the lock is not released.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    quiet_library("dvc")  # callers log what was done
    for attempt in range(1, attempts + 1):
        try:
            with Repo(str(project)) as repo:
                return action(repo)
        except LockError:
            if attempt < attempts:
                time.sleep(LOCK_RETRY_S * attempt)
        except DvcException as error:
            raise InputError(f"DVC refused for `{project}/data`: {error}") from error
    raise InputError("Another process holds DVC's lock: try again when it has finished.")
