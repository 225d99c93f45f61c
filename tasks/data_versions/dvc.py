"""Which version of the data a run sees, and how a fresh clone gets its bytes: the only file that knows DVC.

A version is DVC's own hash of a folder: the MD5 of its list of files, with ``.dir`` behind it. The list and its hash
are made here as DVC makes them, so that an unchanged folder costs no import of DVC.
"""

from __future__ import annotations

import configparser
import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from lycoris.safety.redaction import redact
from lycoris.safety.yaml_loading import read_yaml

EXCLUDED_NAMES = frozenset({".git", ".dvc", ".dvcignore"})
MAX_LISTED_FILES = 5
"""How many files an error names before it only counts."""

Notice = Callable[[str], None]
ManifestEntry = dict[str, str]
FileLocator = Callable[[ManifestEntry], Path]


@dataclass(frozen=True)
class DataVersion:
    """A version of a data folder.

    Attributes:
        hash: DVC's, ``"<32 hexadecimal digits>.dir"``.
        path: the folder, absolute.
        files: their number.
        size: bytes.
        state: ``"unchanged"``, ``"new"`` (recorded in ``data.dvc`` just now), ``"fetched"`` (materialised just
            now), ``"earlier"`` (of a named revision, beside the workspace) or ``"outside"`` (a folder that this
            project does not version).
    """

    hash: str
    path: Path
    files: int
    size: int
    state: str


def find_project(data: Path, default: Path) -> Path:
    """The project that versions a data folder: the folder it lies in, if that has a ``data.dvc``, else `default`."""
    folder = Path(os.path.abspath(Path(data).expanduser()))
    return folder.parent if folder.name == "data" and (folder.parent / "data.dvc").is_file() else Path(default)


def ensure_version(data: Path, project: Path, notice: Notice = lambda _: None) -> DataVersion:
    """Make a data folder present and tell its version; the project's own ``data/`` is recorded when it changed.

    Args:
        data: the folder, relative to the working folder or to the project.
        project: the folder of ``data.dvc``.
        notice: told what was done.

    Raises:
        InputError: the folder is absent and nothing can supply it, a supplied file is not the one versioned, or
            DVC refused.
    """
    project = Path(project).resolve()
    pointer, own = project / "data.dvc", project / "data"
    folder = Path(data).expanduser()
    if not folder.is_absolute() and not folder.exists() and project / folder == own:
        folder = own
    folder = folder.resolve()
    ours = folder == own.resolve()
    state = "unchanged" if ours and pointer.is_file() else "outside"
    if state == "unchanged" and not folder.exists():
        materialize(project, notice)
        state = "fetched"
    if not folder.is_dir():
        raise InputError(f"There is no data folder `{folder}`.")
    entries, size = build_manifest(folder)
    name = manifest_hash(entries)
    first = ours and not pointer.is_file() and (project / ".dvc").is_dir()
    if first or (state == "unchanged" and name != read_pointer(pointer)):
        with_repo(project, lambda repo: repo.add(str(own)))
        name, state = read_pointer(pointer), "new"
        notice(f"data/ {'is' if first else 'changed: it is'} version {name} now, recorded in data.dvc.")
    return DataVersion(name, folder, len(entries), size, state)


def build_manifest(folder: Path) -> tuple[list[ManifestEntry], int]:
    """DVC's list of a folder's files, ``{"md5", "relpath"}`` sorted by path, and their bytes in all."""
    paths = [
        path
        for path in folder.rglob("*")
        if not EXCLUDED_NAMES.intersection(path.relative_to(folder).parts) and path.is_file()
    ]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        sums = list(pool.map(_md5, paths))
    entries = [
        {"md5": md5, "relpath": path.relative_to(folder).as_posix()} for path, md5 in zip(paths, sums, strict=True)
    ]
    return sorted(entries, key=lambda entry: entry["relpath"]), sum(path.stat().st_size for path in paths)


def serialize_manifest(entries: Sequence[ManifestEntry]) -> bytes:
    """A list of files as DVC keeps it in its cache, whose MD5 is the folder's hash."""
    return json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True).encode()


def manifest_hash(entries: Sequence[ManifestEntry]) -> str:
    """DVC's hash of a folder with these files."""
    return hashlib.md5(serialize_manifest(entries), usedforsecurity=False).hexdigest() + ".dir"


def read_pointer(pointer: Path) -> str:
    """The version that a ``.dvc`` file asks for.

    Raises:
        InputError: the file is no pointer of DVC's to a folder.
    """
    try:
        return parse_pointer(pointer.read_bytes(), str(pointer))
    except OSError as error:
        raise InputError(f"`{pointer}` is no pointer file of DVC's: {error!r}") from error


def parse_pointer(content: bytes, pointer: str) -> str:
    """The version that the content of a ``.dvc`` file asks for; `pointer` is what errors call it.

    Raises:
        InputError: it is no pointer of DVC's to a folder.
    """
    try:
        name = str(read_yaml(content.decode(), f"`{pointer}`")["outs"][0]["md5"])
    except (UnicodeDecodeError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"`{pointer}` is no pointer file of DVC's: {error!r}") from error
    digits = name.removesuffix(".dir")
    if len(digits) != 32 or not set(digits) <= set("0123456789abcdef") or digits == name:
        raise InputError(f"`{pointer}` must point to a folder, `<32 hexadecimal digits>.dir`, but has `{name}`.")
    return name


def materialize(project: Path, notice: Notice = lambda _: None) -> str:
    """Bring ``data/`` into being as ``data.dvc`` records it; see `write`.

    Returns:
        Where it came from: ``"remote"``, ``"cache"`` or ``"pocket"``.
    """
    project = Path(project).resolve()
    wanted = read_pointer(project / "data.dvc")
    origin = write_version(wanted, project, project / "data", notice)
    notice(f"data/ was fetched from the {origin}: version {wanted}.")
    return origin


def write_version(wanted: str, project: Path, target: Path, notice: Notice = lambda _: None) -> str:
    """Write a version's files into a new folder: from a DVC remote, the project's cache, or the pocket.

    It is written beside its place, every file held against its MD5, and moved there whole.

    Returns:
        Where it came from: ``"remote"``, ``"cache"`` or ``"pocket"``.

    Raises:
        InputError: nothing has this version, a file differs from it (and is named), or `target` cannot be written.
    """
    origin, entries, source = locate_version(wanted, project, notice)
    _copy_files(entries, source, target, wanted)
    return origin


def locate_version(
    wanted: str, project: Path, notice: Notice = lambda _: None
) -> tuple[str, list[ManifestEntry], FileLocator]:
    """Where a version's bytes are: the place's name, the list of files, and the path of each.

    Raises:
        InputError: no DVC remote, no cache and not the pocket has this version.
    """
    project = Path(project).resolve()
    cache, origin = _cache_dir(project), "cache"
    if _has_remote(project):
        try:
            if fetch([wanted], project):
                origin = "remote"
        except Exception as error:  # a remote's plugin fails as it likes; the other places may still serve
            notice(redact(f"The DVC remote did not give data/: {type(error).__name__}: {error}"))
    listed = cache / wanted[:2] / wanted[2:]
    if listed.is_file():
        source: FileLocator = lambda entry: cache / entry["md5"][:2] / entry["md5"][2:]  # noqa: E731
    else:
        from lycoris import pocket

        origin, listed = "pocket", pocket.MANIFEST
        source = lambda entry: pocket.IMAGES / entry["relpath"]  # noqa: E731
    content = listed.read_bytes() if listed.is_file() else b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir" != wanted:
        raise InputError(
            f"No DVC remote, no cache and not the pocket has data version {wanted}. Configure the remote that has "
            "it (`dvc remote add -d NAME URL`) and run again."
        )
    return origin, json.loads(content), source


def fetch(versions: Sequence[str], project: Path, remote: str | None = None) -> int:
    """Bring versions from a DVC remote, the default one if none is named, into the cache; how many files came.

    Raises:
        InputError: there is no such remote, or it lacks a file.
    """
    return _transfer("pull", versions, project, remote)


def push(versions: Sequence[str], project: Path, remote: str | None = None) -> int:
    """Bring versions from the cache to a DVC remote, the default one if none is named; how many files went.

    Raises:
        InputError: there is no such remote, the cache lacks a file, or the remote took none.
    """
    cache = _cache_dir(Path(project).resolve())
    for name in versions:
        if not (cache / name[:2] / name[2:]).is_file():
            raise InputError(f"Data version {name} is not in the cache `{cache}`, so it cannot be pushed.")
    return _transfer("push", versions, project, remote)


def _transfer(direction: str, versions: Sequence[str], project: Path, remote: str | None) -> int:
    """Versions go by their hash, so that the remotes configured now serve old ones too."""
    project = Path(project).resolve()
    cache = _cache_dir(project)

    def move(repo: Any) -> int:
        from dvc_data.hashfile.hash_info import HashInfo

        def some(sums: Sequence[str]) -> int:
            done = getattr(repo.cloud, direction)({HashInfo("md5", each) for each in sums}, remote=remote)
            if done.failed:
                raise InputError(f"{len(done.failed)} files of data version {name} could not be {direction}ed.")
            return len(done.transferred)

        count = 0
        for name in versions:
            listed = cache / name[:2] / name[2:]
            if not listed.is_file():
                count += some([name])
            if not listed.is_file():
                raise InputError(f"The DVC remote does not have data version {name}.")
            count += some([name, *(entry["md5"] for entry in json.loads(listed.read_bytes()))])
        return count

    return with_repo(project, lambda repo: _with_lock(repo, move))


def remove(name: str, project: Path) -> int:
    """Take a version out of the cache: its list and the files that no other version there has.

    Returns:
        How many files went.

    Raises:
        InputError: it is what data.dvc records, or the cache does not have it.
    """
    project = Path(project).resolve()
    cache = _cache_dir(project)
    listed = cache / name[:2] / name[2:]
    if name == read_pointer(project / "data.dvc"):
        raise InputError(f"Data version {name} is the one that data.dvc records: it cannot be removed.")
    if not listed.is_file():
        raise InputError(f"Data version {name} is not in the cache `{cache}`.")

    def clear(_: Any) -> int:
        others = [json.loads(path.read_bytes()) for path in cache.glob("*/*.dir") if path != listed]
        needed = {entry["md5"] for entries in others for entry in entries}
        mine = {entry["md5"] for entry in json.loads(listed.read_bytes())} - needed
        listed.unlink()  # first: a list without all of its files would be taken for a whole version
        for md5 in mine:
            (cache / md5[:2] / md5[2:]).unlink(missing_ok=True)
        return len(mine)

    return with_repo(project, lambda repo: _with_lock(repo, clear))


def _with_lock(repo: Any, action: Callable[[Any], Any]) -> Any:
    with repo.lock:
        return action(repo)


def _copy_files(entries: Sequence[ManifestEntry], source: FileLocator, target: Path, wanted: str) -> None:
    """Copy a version's files, each read once and compared, beside the target; then give it its name."""
    for left in target.parent.glob(f".{target.name}-*"):
        if not _is_running(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)
    aside = target.with_name(f".{target.name}-{os.getpid()}")
    wrong = []
    try:
        for entry in entries:
            path, copy = source(entry), aside / entry["relpath"]
            if not copy.resolve().is_relative_to(aside.resolve()):
                raise InputError(f"Data version {wanted} lists `{entry['relpath']}`, which is outside of its folder.")
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                wrong.append(f"`{entry['relpath']}` (`{path}` is missing)")
                continue
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != entry["md5"]:
                wrong.append(f"`{entry['relpath']}` (`{path}` has other bytes)")
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        if wrong:
            more = f" and {len(wrong) - MAX_LISTED_FILES} more" if len(wrong) > MAX_LISTED_FILES else ""
            raise InputError(
                f"These files are not what data version {wanted} records: {', '.join(wrong[:MAX_LISTED_FILES])}{more}."
            )
        os.replace(aside, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and manifest_hash(build_manifest(target)[0]) == wanted:
            return  # another process did the same just before
        raise InputError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def with_repo(project: Path, action: Callable[[Any], Any], attempts: int = 5) -> Any:
    """Do something with the DVC repository, again while another process holds its lock.

    Raises:
        InputError: with what DVC said.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # what was done is told by who asked for it
    for attempt in range(1, attempts + 1):
        try:
            with Repo(str(project)) as repo:
                return action(repo)
        except LockError:
            if attempt == attempts:
                raise InputError("Another process holds DVC's lock: try again when it is done.") from None
            time.sleep(0.5 * attempt)
        except DvcException as error:
            raise InputError(f"DVC refused for `{project}/data`: {error}") from error
    raise InputError(f"Argument `attempts` must be at least 1, but got {attempts}.")


def _is_running(pid: str) -> bool:
    """Whether a process of this number runs; what a killed one left aside may go."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return True


def _md5(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _dvc_config(project: Path) -> configparser.ConfigParser:
    """The project's DVC settings, those of ``config.local`` over those of ``config``."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read([project / ".dvc" / "config", project / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"The DVC settings in `{project / '.dvc'}` cannot be read: {error}") from error
    return parser


def is_available(name: str, project: Path) -> bool:
    """Whether the project's cache or the pocket has every file of a version."""
    cache = _cache_dir(Path(project).resolve())
    listed = cache / name[:2] / name[2:]
    if listed.is_file():
        sums = [entry["md5"] for entry in json.loads(listed.read_bytes())]
        return all((cache / md5[:2] / md5[2:]).is_file() for md5 in sums)
    from lycoris import pocket

    return pocket.MANIFEST.is_file() and manifest_hash(json.loads(pocket.MANIFEST.read_bytes())) == name


def _has_remote(project: Path) -> bool:
    return any("remote" in name for name in _dvc_config(project).sections())


def _cache_dir(project: Path) -> Path:
    """Where DVC keeps the files of this project by their MD5."""
    folder = project / ".dvc"
    return folder / _dvc_config(project).get("cache", "dir", fallback="cache") / "files" / "md5"
