"""Checksums of files: their sizes and SHA-256, and which of them no longer match."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

Checksums = Mapping[str, Sequence[int | str]]
"""Path below a folder, with slashes -> size in bytes and SHA-256."""

_verified_digests: dict[tuple[str, int, int, int], str] = {}
"""Path, size, modification time and inode -> SHA-256, of files that this process has read."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, list[int | str]]:
    """Size and SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, file_digest(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def find_corruption(folder: Path, expected: Checksums) -> str | None:
    """Describe the first file that does not match its checksum; None if all match.

    A process reads a file once, and again if its size, modification time or inode has changed.

    Args:
        folder: of the files; other files in it are ignored.
        expected: as returned by `checksums`.
    """
    for name, (size, digest) in expected.items():
        path = folder / name
        try:
            status = os.stat(path)
            if status.st_size != size:
                return f"`{name}` has {status.st_size} bytes instead of {size}"
            identity = (str(path), status.st_size, status.st_mtime_ns, status.st_ino)
            if identity not in _verified_digests:
                _verified_digests[identity] = file_digest(path)
            if _verified_digests[identity] != digest:
                return f"`{name}` does not match its checksum"
        except OSError as error:
            return f"`{name}` cannot be read ({error.strerror})"
    return None
