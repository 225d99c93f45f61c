"""Make data folders present: find which version a folder is, record changes, and write versions into folders."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lycoris import pocket
from lycoris.cache.atomic import atomic_dir, remove_leftovers
from lycoris.errors import InputError, missing_path_error
from lycoris.safety.redaction import redact
from tasks.data_versions import dvc
from tasks.data_versions.dvc import dvc_dir, has_remote
from tasks.data_versions.ignore import build_own_manifest
from tasks.data_versions.manifest import (
    DataVersion,
    ManifestEntry,
    build_manifest,
    file_md5,
    manifest_hash,
    read_pointer,
    write_pointer,
)

INIT_HINT = "`lycoris init --dvc` makes a repository that stores the files of each version."
MAX_LISTED_FILES = 5
"""How many files an error names before it only counts them."""

FileLocator = Callable[[ManifestEntry], Path]

logger = logging.getLogger("lycoris.data.versions")


def find_project(data: Path, default: Path) -> Path:
    """The project that versions a data folder: its parent folder if that has a ``data.dvc``, else `default`."""
    folder = Path(os.path.abspath(Path(data).expanduser()))
    return folder.parent if folder.name == "data" and (folder.parent / "data.dvc").is_file() else Path(default)


def ensure_version(data: Path, project: Path) -> DataVersion:
    """Make a data folder present and return its version; the project's own ``data/`` is recorded if it has changed.

    Args:
        data: the folder, relative to the working folder or to the project.
        project: the folder of ``data.dvc``.

    Raises:
        InputError: the folder is absent and nothing supplies it, a supplied file does not match its hash, or DVC
            reports an error.
    """
    project = Path(project).resolve()
    pointer, own = project / "data.dvc", project / "data"
    folder = Path(data).expanduser()
    if not folder.is_absolute() and not folder.exists() and project / folder == own:
        folder = own
    folder = folder.resolve()
    is_own = folder == own.resolve()
    state = "unchanged" if is_own and pointer.is_file() else "outside"
    if state == "unchanged" and not folder.exists():
        materialize(project)
        state = "fetched"
    if is_own and not folder.exists() and not pointer.is_file():
        _begin_with_pocket(project)
        state = "fetched"
    if not folder.is_dir():
        raise missing_path_error("data folder", folder)
    versioned = is_own and (pointer.is_file() or dvc_dir(project) is not None)
    entries, size = build_own_manifest(folder, project) if versioned else build_manifest(folder)
    version = manifest_hash(entries)
    is_first = versioned and not pointer.is_file()
    recorded = DataVersion(version, folder, len(entries), size, "new")
    if is_first or (state == "unchanged" and version != read_pointer(pointer)):
        return _record(recorded, project, "is" if is_first else "changed: it is")
    if is_own and not pointer.is_file():
        logger.info("data/ is in no DVC repository: version %s is recorded with the run, its files are not. %s",
                    version, INIT_HINT)  # fmt: skip
    return replace(recorded, state=state)


def _record(version: DataVersion, project: Path, verb: str) -> DataVersion:
    """Record ``data/`` in ``data.dvc``, and its files in DVC's cache where there is a DVC repository."""
    if dvc_dir(project) is not None:
        dvc.add(project / "data", project)
        logger.info("data/ %s version %s now, recorded in data.dvc.", verb, version.hash)
        return replace(version, hash=read_pointer(project / "data.dvc"))
    write_pointer(project / "data.dvc", version)
    logger.info("data/ %s version %s now, recorded in data.dvc; its files are stored nowhere else. %s",
                verb, version.hash, INIT_HINT)  # fmt: skip
    return version


def _begin_with_pocket(project: Path) -> None:
    """Create ``data/`` and ``data.dvc`` of a folder that has neither, from the images in the package."""
    version = manifest_hash(_pocket_manifest())
    write_version(version, project, project / "data")
    entries, size = build_manifest(project / "data")
    write_pointer(project / "data.dvc", DataVersion(version, project / "data", len(entries), size, "fetched"))
    if dvc_dir(project) is not None:
        dvc.add_to_cache(project)
    logger.info("data/ was created from the pocket: version %s, recorded in data.dvc.", version)


def materialize(project: Path) -> str:
    """Create ``data/`` as ``data.dvc`` records it; see `write_version`.

    Returns:
        The origin: ``"remote"``, ``"cache"`` or ``"pocket"``.
    """
    project = Path(project).resolve()
    version = read_pointer(project / "data.dvc")
    origin = write_version(version, project, project / "data")
    if dvc_dir(project) is not None:
        dvc.add_to_cache(project)  # so that DVC's own commands have the version
    logger.info("data/ was fetched from the %s: version %s.", origin, version)
    return origin


def write_version(version: str, project: Path, target: Path) -> str:
    """Write a version's files into a new folder, from a DVC remote, the project's cache, or the pocket.

    Every file is compared with its MD5; the folder appears complete or not at all.

    Returns:
        The origin: ``"remote"``, ``"cache"`` or ``"pocket"``.

    Raises:
        InputError: no origin has this version, files do not match it (and are named), or `target` cannot be written.
    """
    origin, entries, locate = locate_version(version, project)
    write = shutil.copyfile if origin == "pocket" else dvc.cache_writer(Path(project).resolve())
    remove_leftovers(target.parent, f".{target.name}")
    mismatches = []
    try:
        with atomic_dir(
            target, keep_existing=lambda folder: manifest_hash(build_manifest(folder)[0]) == version
        ) as new:
            for entry in entries:
                source, copy = locate(entry), new / entry["relpath"]
                if not copy.resolve().is_relative_to(new.resolve()):
                    raise InputError(f"Data version {version} lists `{entry['relpath']}`, which is outside its folder.")
                is_file = source.is_file()
                if not is_file or file_md5(source) != entry["md5"]:
                    fault = "has other bytes" if is_file else "is missing"
                    mismatches.append(f"`{entry['relpath']}` (`{source}` {fault})")
                    continue
                copy.parent.mkdir(parents=True, exist_ok=True)
                write(source, copy)
            if mismatches:
                more = f" and {len(mismatches) - MAX_LISTED_FILES} more" if len(mismatches) > MAX_LISTED_FILES else ""
                raise InputError(
                    f"These files do not match data version {version}: "
                    f"{', '.join(mismatches[:MAX_LISTED_FILES])}{more}."
                )
    except OSError as error:
        raise InputError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    return origin


def locate_version(version: str, project: Path) -> tuple[str, list[ManifestEntry], FileLocator]:
    """Find a version's files.

    Returns:
        The origin, ``"remote"``, ``"cache"`` or ``"pocket"``; the manifest; and the path of each entry.

    Raises:
        InputError: neither a DVC remote, nor the cache, nor the pocket has this version.
    """
    project = Path(project).resolve()
    cache, origin = dvc.cache_dir(project), "cache"
    if has_remote(project):
        try:
            if dvc.fetch([version], project):
                origin = "remote"
        except Exception as error:  # remotes' plugins raise anything; another origin may have the version
            logger.warning("The DVC remote did not supply data/: %s", redact(f"{type(error).__name__}: {error}"))
    entries = _pocket_manifest()
    if manifest_hash(entries) == version and not dvc.is_complete(version, project):
        return "pocket", entries, lambda entry: pocket.IMAGES / entry["relpath"]
    if (cached := dvc.cached_manifest(cache, version)) is None:
        raise InputError(
            f"Neither a DVC remote, nor the cache, nor the pocket has data version {version}. Configure the remote "
            "that has it (`dvc remote add -d NAME URL`) and run again."
        )
    return origin, cached, lambda entry: dvc.cached_file(cache, entry["md5"])


def is_available(version: str, project: Path) -> bool:
    """Whether the project's cache or the pocket has every file of a version."""
    return dvc.is_complete(version, Path(project).resolve()) or manifest_hash(_pocket_manifest()) == version


def _pocket_manifest() -> list[ManifestEntry]:
    return json.loads(pocket.MANIFEST.read_bytes())
