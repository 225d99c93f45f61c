"""Whether files are still what was written: sizes and SHA-256 sums, told in words where they are not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

Checksums = Mapping[str, Sequence[int | str]]
"""Path below a folder, with slashes, to the file's size in bytes and its SHA-256."""

_verified_digests: dict[tuple[str, int, int, int], str] = {}
"""What this process has read: path, size, time of change and inode to the SHA-256."""


def file_digest(path: Path) -> str:
    """SHA-256 of one file's bytes, as 64 hexadecimal digits."""
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
    """What is wrong with the first file that is not as it was written; None where all are.

    A file is read once a process, and again when its size, its time of change or its inode is another.

    Args:
        folder: where the files lie; those that are not expected are left out of account.
        expected: as `sums` gave it.
    """
    for name, (size, digest) in expected.items():
        path = folder / name
        try:
            found = os.stat(path)
            if found.st_size != size:
                return f"`{name}` has {found.st_size} bytes in place of {size}"
            seen = (str(path), found.st_size, found.st_mtime_ns, found.st_ino)
            if seen not in _verified_digests:
                _verified_digests[seen] = file_digest(path)
            if _verified_digests[seen] != digest:
                return f"`{name}` has other bytes than were written"
        except OSError as error:
            return f"`{name}` cannot be read ({error.strerror})"
    return None
