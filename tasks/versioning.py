"""Which version of the data a run sees, and how a fresh clone gets its bytes: the only file that knows DVC.

A version is DVC's own hash of a folder: the MD5 of its sorted list of (MD5, path), with ``.dir`` behind it. It
is computed here the same way, so that an unchanged folder costs no import of DVC.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect import task

from lycoris.errors import InputError

LEFT_OUT = frozenset({".git", ".dvc", ".dvcignore"})


@dataclass(frozen=True)
class DataVersion:
    """A version of a data folder.

    Attributes:
        hash: DVC's, ``"<32 hexadecimal digits>.dir"``.
        path: the folder, absolute.
        files: their number.
        size: bytes.
        state: ``"unchanged"``, ``"new"`` (recorded in ``data.dvc`` just now), ``"fetched"`` (materialised just
            now) or ``"outside"`` (a folder that this project does not version).
    """

    hash: str
    path: Path
    files: int
    size: int
    state: str


@task(name="data")
def data_version(data: Path, project: Path) -> DataVersion:
    """Make the data folder of a run present, and tell which version it is.

    Args:
        data: the folder, relative to the working folder or to the project.
        project: the folder of ``data.dvc``.

    Raises:
        InputError: the folder is absent and nothing can supply it, or a supplied file is not the one versioned.
    """
    return version(data, project)


def version(data: Path, project: Path, notice: Callable[[str], None] = lambda _: None) -> DataVersion:
    """See `data_version`; `notice` is told what was done."""
    pointer = Path(project) / "data.dvc"
    own = Path(project) / "data"
    folder = Path(data).expanduser()
    if not folder.is_absolute() and not folder.exists() and (Path(project) / folder) == own:
        folder = own
    folder = folder.resolve()
    versioned = pointer.is_file() and folder == own.resolve()
    state = "outside"
    if versioned:
        state = "unchanged"
        if not folder.exists():
            materialise(project, notice)
            state = "fetched"
    if not folder.is_dir():
        raise InputError(f"There is no data folder `{folder}`.")
    entries, size = manifest(folder)
    hash_ = hash_of(entries)
    if versioned and state == "unchanged" and hash_ != recorded(pointer):
        _with_repo(project, lambda repo: repo.add(str(own)))
        notice(f"data/ changed: version {hash_} was recorded in data.dvc.")
        state = "new"
    return DataVersion(hash_, folder, len(entries), size, state)


def manifest(folder: Path) -> tuple[list[dict[str, str]], int]:
    """DVC's list of a folder's files, ``{"md5", "relpath"}`` sorted by path, and their bytes in all."""
    entries, size = [], 0
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and not LEFT_OUT.intersection(relative.parts):
            with open(path, "rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            entries.append({"md5": digest, "relpath": relative.as_posix()})
            size += path.stat().st_size
    return sorted(entries, key=lambda entry: entry["relpath"]), size


def hash_of(entries: list[dict[str, str]]) -> str:
    """DVC's hash of a folder with these files."""
    text = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def recorded(pointer: Path) -> str:
    """The version that a ``.dvc`` file asks for.

    Raises:
        InputError: the file is no pointer of DVC's.
    """
    try:
        return str(yaml.safe_load(pointer.read_text())["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"`{pointer}` is no pointer file of DVC's: {error!r}") from error


def materialise(project: Path, notice: Callable[[str], None] = lambda _: None) -> str:
    """Bring ``data/`` into being as ``data.dvc`` records it: from a DVC remote, its cache, or the pocket.

    Returns:
        Where it came from: ``"remote"``, ``"cache"`` or ``"pocket"``.

    Raises:
        InputError: nothing has this version, or a file differs from it and is named.
    """
    wanted = recorded(Path(project) / "data.dvc")
    target = Path(project) / "data"
    for origin, fetch in (("remote", _from_remote), ("cache", _from_cache), ("pocket", _from_pocket)):
        if not fetch(Path(project), target, wanted, notice):
            continue
        entries, _ = manifest(target)
        if hash_of(entries) != wanted:
            raise InputError(f"`data/` came from the {origin} as {hash_of(entries)}, but data.dvc records {wanted}.")
        notice(f"data/ was fetched from the {origin}: version {wanted}.")
        return origin
    raise InputError(
        f"data.dvc records version {wanted}, which no DVC remote, no cache and not the pocket has. Configure the "
        "remote that has it (`dvc remote add -d NAME URL`) and run again."
    )


def _from_remote(project: Path, target: Path, wanted: str, notice: Callable[[str], None]) -> bool:
    texts = [file.read_text() for name in ("config", "config.local") if (file := project / ".dvc" / name).is_file()]
    if not any("remote" in text for text in texts):
        return False
    try:
        _with_repo(project, lambda repo: repo.pull(targets=[str(project / "data.dvc")]))
    except InputError as error:
        notice(f"the DVC remote did not give data/: {error}")
        return False
    return target.is_dir()


def _from_cache(project: Path, target: Path, wanted: str, notice: Callable[[str], None]) -> bool:
    if not (project / ".dvc/cache/files/md5" / wanted[:2] / wanted[2:]).is_file():
        return False
    try:
        _with_repo(project, lambda repo: repo.checkout(targets=[str(project / "data.dvc")]))
    except InputError as error:
        notice(f"the DVC cache did not give data/: {error}")
        return False
    return target.is_dir()


def _from_pocket(project: Path, target: Path, wanted: str, notice: Callable[[str], None]) -> bool:
    """Copy the pictures that the project ships, each held against the manifest that makes the version's hash."""
    from lycoris import pocket

    listed = pocket.MANIFEST.read_bytes()
    if hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir" != wanted:
        return False
    aside = target.with_name(f".data-{os.getpid()}")
    try:
        for entry in json.loads(listed):
            source, copy = pocket.PICTURES / entry["relpath"], aside / entry["relpath"]
            try:
                content = source.read_bytes()
            except OSError as error:
                raise InputError(f"`{source}` is a file of data version {wanted}, but cannot be read.") from error
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != entry["md5"]:
                raise InputError(f"`{source}` is not the file that data version {wanted} records: its bytes differ.")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _with_repo(project: Path, action: Callable[[Any], Any], attempts: int = 5) -> Any:
    """Do something with the DVC repository, again while another process holds its lock.

    Raises:
        InputError: with what DVC said.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    for attempt in range(attempts):
        try:
            with Repo(str(project)) as repo:
                return action(repo)
        except LockError:
            if attempt == attempts - 1:
                raise InputError("Another process holds DVC's lock: try again when it is done.") from None
            time.sleep(1 + attempt)
        except DvcException as error:
            raise InputError(f"DVC could not version `{project}/data`: {error}") from error
    return None
