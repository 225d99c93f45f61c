"""Files and folders that appear complete or not at all: written under a temporary name, then renamed.

Temporary names are unpredictable and made exclusively, in a directory that only this user can enter, so nothing is
ever written through a link that somebody else put there. A name records the machine and the process that made it;
`remove_leftovers` deletes what killed processes left behind.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lycoris.cache.processes import is_process_running, machine_id

MAX_AGE_S = 86_400.0
"""Age after which a temporary name of another machine counts as a leftover."""


@contextmanager
def atomic_write(path: Path, *, staging: Path | None = None, overwrite: bool = True) -> Iterator[Path]:
    """Write a file that replaces `path` when the block ends without an error.

    Args:
        path: the file to write; its folder is created.
        staging: existing folder on the same file system for the temporary name; default: the folder of `path`.
        overwrite: False keeps a file that another process wrote to `path` in the meantime.

    Yields:
        A path with the same file name, to be written by the block.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(staging or path.parent, path.name)
    temporary.mkdir(mode=0o700)
    try:
        yield temporary / path.name
        if overwrite:
            os.replace(temporary / path.name, path)
        else:
            with suppress(FileExistsError):
                os.link(temporary / path.name, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_dir(path: Path, keep_existing: Callable[[Path], bool] = lambda path: False) -> Iterator[Path]:
    """Write a folder that becomes `path` when the block ends without an error.

    Args:
        path: must be absent or an empty folder when the block ends.
        keep_existing: called with `path` if it is not empty by then; True keeps it, as another process has written
            the same.

    Yields:
        An empty folder, to be filled by the block.

    Raises:
        OSError: `path` cannot be written, or is not empty and not to be kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path.parent, path.name)
    temporary.mkdir()
    try:
        yield temporary
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not keep_existing(path):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def atomic_write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file that appears complete or not at all, and return its path."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def apply_umask(path: Path) -> None:
    """Give a file the permissions of a new one, where a library wrote it readable by its owner alone."""
    probe = path.with_name(f"{path.name}.mode")
    probe.touch(exist_ok=False)
    path.chmod(probe.stat().st_mode & 0o777)
    probe.unlink()


def temporary_path(folder: Path, name: str) -> Path:
    """A new hidden name in a folder: ``.<name>-<machine>-<process id>-<random>``, at most 255 bytes long."""
    shortened = name.encode()[:100].decode(errors="ignore")
    return Path(folder) / f".{shortened}-{machine_id()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def check_writable(folder: Path) -> None:
    """Create a folder and an empty file in it, which is removed.

    Raises:
        OSError: one of them cannot be created.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    probe = temporary_path(folder, "probe")
    with open(probe, "xb"):
        pass
    probe.unlink()


def open_log(path: Path, *, append: bool = False) -> IO[bytes]:
    """Open a file for writing line by line, only for this user.

    Args:
        append: True writes after what the file holds, False replaces it.

    Raises:
        OSError: `path` is a link, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC) | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if append else "wb")


def remove_leftovers(folder: Path, pattern: str = ".*", max_age_s: float = MAX_AGE_S) -> int:
    """Delete the temporary files and folders of processes that were killed.

    Args:
        folder: where to look.
        pattern: glob pattern, below `folder`, of the names up to the machine.
        max_age_s: age in seconds after which those of other machines are deleted as well.

    Returns:
        How many were deleted.
    """
    count = 0
    for path in Path(folder).glob(f"{pattern}-*-*-*"):
        _, machine, process, _ = path.name.rsplit("-", 3)
        try:
            if machine == machine_id():
                stale = not is_process_running(int(process))
            else:
                stale = time.time() - path.lstat().st_mtime > max_age_s
        except (ValueError, FileNotFoundError):
            continue
        if stale:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            count += 1
    return count
