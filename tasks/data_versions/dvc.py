"""Record, fetch, push and remove versions of ``data/`` with DVC; no other module imports it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lycoris.errors import InputError
from tasks.data_versions.manifest import ManifestEntry, read_pointer
from tasks.runtime.library_logging import quiet_library

if TYPE_CHECKING:
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


def cached_manifest(cache: Path, version: str) -> list[ManifestEntry] | None:
    """The manifest of a version, or None if the cache does not have it with the bytes that its hash names."""
    file = cached_file(cache, version)
    content = file.read_bytes() if file.is_file() else b""
    return json.loads(content) if hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir" == version else None


def is_complete(version: str, project: Path) -> bool:
    """Whether the cache has a version with all of its files, whose bytes are not read."""
    cache = cache_dir(project)
    entries = cached_manifest(cache, version)
    return entries is not None and all(cached_file(cache, entry["md5"]).is_file() for entry in entries)


def cache_writer(project: Path) -> Callable[[Path, Path], None]:
    """A function that writes a file of the cache to a path: as the first kind of ``cache.type`` that is possible."""
    from dvc.fs import generic, localfs

    links = _config(project).get("cache", {}).get("type")
    return lambda source, target: generic.transfer(localfs, str(source), localfs, str(target), links=links)


def has_remote(project: Path) -> bool:
    """Whether a DVC remote is configured.

    Raises:
        InputError: DVC's configuration cannot be read.
    """
    return bool(_config(project).get("remote"))


def _config(project: Path) -> dict[str, Any]:
    """DVC's configuration of a project, with that of the user and the system; empty outside of a DVC repository."""
    folder = dvc_dir(project)
    if folder is None:
        return {}
    from dvc.config import Config, ConfigError

    try:
        config = Config(str(folder), validate=False)
        remotes = config.pop("remote", {})  # not checked: one of a kind that is not installed is named where it is used
        return {**Config.validate(config), "remote": remotes}
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
    has_git = any((parent / ".git").exists() for parent in (folder, *folder.resolve().parents))
    try:
        Repo.init(str(folder), no_scm=not has_git, subdir=has_git).close()
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
    if (project / "data").is_dir() and not is_complete(version, project):
        add(project / "data", project)


def list_files(folder: Path, root: Path) -> list[Path]:
    """The files of a folder that DVC records; `root` is the folder from which ``.dvcignore`` counts. Both absolute."""
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    files = DvcIgnoreFilter(localfs, str(root)).find(localfs, str(folder))
    return [path for file in files if (path := Path(file)).is_file()]


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
    for version in versions:
        if version == read_pointer(project / "data.dvc"):
            add_to_cache(project)
        if not is_complete(version, project):
            raise InputError(f"`{cache_dir(project)}` lacks files of data version {version}: it is not pushed.")
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
            if cached_manifest(cache, version) is None:
                count += transfer_files(version, [version])
            if (entries := cached_manifest(cache, version)) is None:
                raise InputError(f"The DVC remote does not have data version {version}.")
            count += transfer_files(version, [version, *(entry["md5"] for entry in entries)])
            if not is_complete(version, project):
                raise InputError(f"The DVC remote lacks files of data version {version}.")
        return count

    return with_repo(project, transfer)


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

    return with_repo(project, delete)


def with_repo(project: Path, action: Callable[[Repo], ResultT], attempts: int = 5) -> ResultT:
    """Call a function with the locked DVC repository, and again while another process holds its lock.

    Raises:
        InputError: DVC reports an error, or the lock is not released.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.fs import RemoteMissingDepsError
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo
    from dvc_data.hashfile.build import IgnoreInCollectedDirError

    quiet_library("dvc")  # callers log what was done
    for attempt in range(1, attempts + 1):
        try:
            with Repo(str(project)) as repo, lock_repo(repo):
                return action(repo)
        except LockError:
            if attempt < attempts:
                time.sleep(LOCK_RETRY_S * attempt)
        except (DvcException, IgnoreInCollectedDirError, ImportError, RemoteMissingDepsError) as error:
            raise InputError(f"DVC refused for `{project}/data`: {error}") from error
    raise InputError("Another process holds DVC's lock: try again when it has finished.")
