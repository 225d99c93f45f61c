"""Data versions as DVC identifies them, computed without DVC.

A version is DVC's hash of a folder: the MD5 of its manifest, the list of its files, followed by ``.dir``. Both are
computed here as DVC computes them, so that an unchanged folder does not cost an import of DVC.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError
from lycoris.safety.yaml_loading import read_yaml

EXCLUDED_NAMES = frozenset({".git", ".dvc", ".dvcignore"})

ManifestEntry = dict[str, str]
"""``{"md5", "relpath"}`` of a file."""


@dataclass(frozen=True)
class DataVersion:
    """A version of a data folder.

    Attributes:
        hash: DVC's, ``"<32 hexadecimal digits>.dir"``.
        path: the folder, absolute.
        files: their number.
        size: bytes.
        state: ``"unchanged"``, ``"new"`` (just recorded in ``data.dvc``), ``"fetched"`` (just materialized),
            ``"earlier"`` (of a named revision, beside the workspace) or ``"outside"`` (a folder that this project
            does not version).
    """

    hash: str
    path: Path
    files: int
    size: int
    state: str


def list_files(folder: Path) -> list[Path]:
    """The files below a folder that DVC would record, and those below linked folders, each folder once."""
    files, visited = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(set(folders) - EXCLUDED_NAMES)
        files += [path for name in names if name not in EXCLUDED_NAMES and (path := Path(parent, name)).is_file()]
    return files


def build_manifest(folder: Path, files: Sequence[Path] | None = None) -> tuple[list[ManifestEntry], int]:
    """DVC's manifest of a folder, sorted by path, and the size of its files in bytes.

    Args:
        folder: to be versioned.
        files: of the folder; None for those that `list_files` lists.
    """
    paths = list_files(folder) if files is None else list(files)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = list(pool.map(file_md5, paths))
    entries = [
        {"md5": md5, "relpath": path.relative_to(folder).as_posix()} for path, md5 in zip(paths, hashes, strict=True)
    ]
    return sorted(entries, key=lambda entry: entry["relpath"]), sum(path.stat().st_size for path in paths)


def serialize_manifest(entries: Sequence[ManifestEntry]) -> bytes:
    """A manifest as DVC writes it to its cache; its MD5 is the folder's hash."""
    return json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True).encode()


def manifest_hash(entries: Sequence[ManifestEntry]) -> str:
    """DVC's hash of a folder with these files."""
    return hashlib.md5(serialize_manifest(entries), usedforsecurity=False).hexdigest() + ".dir"


def read_pointer(pointer: Path) -> str:
    """The version that a ``.dvc`` file records.

    Raises:
        InputError: the file does not point to a folder.
    """
    try:
        return parse_pointer(pointer.read_bytes(), str(pointer))
    except OSError as error:
        raise InputError(f"`{pointer}` is not a DVC pointer file: {error!r}") from error


def write_pointer(pointer: Path, version: DataVersion) -> None:
    """Record a version in a ``.dvc`` file beside its folder, as DVC writes it; no file goes to DVC's cache."""
    output = {"md5": version.hash, "size": version.size, "nfiles": version.files, "hash": "md5", "path": "data"}
    atomic_write_text(pointer, yaml.safe_dump({"outs": [output]}, sort_keys=False))


def parse_pointer(content: bytes, label: str) -> str:
    """The version that the content of a ``.dvc`` file records; `label` names the file in errors.

    Raises:
        InputError: the content does not point to a folder.
    """
    try:
        name = str(read_yaml(content.decode(), f"`{label}`")["outs"][0]["md5"])
    except (UnicodeDecodeError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"`{label}` is not a DVC pointer file: {error!r}") from error
    digits = name.removesuffix(".dir")
    if len(digits) != 32 or not set(digits) <= set("0123456789abcdef") or digits == name:
        raise InputError(f"`{label}` must point to a folder, `<32 hexadecimal digits>.dir`, but has `{name}`.")
    return name


def file_md5(path: Path) -> str:
    """The MD5 of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
