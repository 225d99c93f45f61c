"""A store of finished stages under content keys, so that no work is done twice.

A *stage* is one step of the pipeline (captions, adapter, images ...). Its key is the SHA-256 of everything its result
depends on; its output is the folder ``<root>/<stage>/<key>``, which appears complete or not at all.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris.cache.atomic import MAX_AGE_S, atomic_dir, check_writable, remove_leftovers
from lycoris.cache.integrity import checksums, find_corruption
from lycoris.cache.keys import stage_key
from lycoris.errors import InputError

RECORD_FILE = "stage.json"
LOCKS_DIR = ".locks"
DISK_FULL_HINT = "Finished work is saved; free some space and run again."
_DISK_FULL_MESSAGES = ("No space left on device", "Disk quota exceeded", "database or disk is full")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredStage:
    """A finished stage: its name and key, the folder of its output, and how many seconds it took."""

    name: str
    key: str
    folder: Path
    seconds: float


class Store:
    """Finished stages below one folder.

    Args:
        root: created when absent.

    Raises:
        InputError: the folder cannot be created or written.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        try:
            check_writable(self.root)
        except OSError as error:
            raise InputError(
                f"The output folder `{self.root}` cannot be written: {error.strerror}. "
                "Choose another with `--set output=FOLDER`."
            ) from error

    def find(self, stage: str, inputs: Mapping[str, Any]) -> StoredStage | None:
        """The finished stage of these inputs; None if there is none whose files match their checksums.

        A damaged stage is logged and counts as missing; so does one whose record has no checksums.
        """
        key = stage_key(stage, inputs)
        folder = self.root / stage / key
        try:
            record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
            found = StoredStage(stage, key, folder, seconds=float(record["seconds"]))
            damage = find_corruption(folder, record["files"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            damage = f"`{RECORD_FILE}` cannot be read"
        if damage is not None:
            logger.warning("Finished work is damaged and counts as missing: in `%s`, %s.", folder, damage)
            return None
        return found

    @contextmanager
    def create(self, stage: str, inputs: Mapping[str, Any]) -> Iterator[Path]:
        """Yield a folder for a stage's output; it enters the store when the block ends without an error.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        final = self.root / stage / stage_key(stage, inputs)
        started = time.monotonic()
        try:
            with atomic_dir(final, keep_existing=lambda _: True) as folder:
                yield folder
                record = {
                    "stage": stage,
                    "inputs": dict(inputs),
                    "seconds": time.monotonic() - started,
                    "files": checksums(folder),
                }
                (folder / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
                if final.exists() and self.find(stage, inputs) is None:
                    shutil.rmtree(final)
        except Exception as error:
            if is_full_disk(error):
                raise InputError(
                    f"The disk that holds `{self.root}` is full: stage `{stage}` was not saved. {DISK_FULL_HINT}"
                ) from error
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                raise InputError(f"The output folder `{self.root}` cannot be written: {error.strerror}.") from error
            raise

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a lock on a key, on this store, against other processes.

        The operating system frees the lock when its process ends, for any reason; the lock file is removed on
        leaving the block, or by `remove_stale`.

        Args:
            key: of a stage.
            on_wait: called if another process holds the lock.
        """
        from filelock import FileLock, Timeout

        file = self.root / LOCKS_DIR / f"{key}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, poll_interval=0.2)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            lock.release()

    def remove_stale(self, max_age_s: float = MAX_AGE_S) -> int:
        """Remove locks and unfinished output of killed processes.

        Args:
            max_age_s: age in seconds after which unfinished output of another machine is removed as well.

        Returns:
            How many files and folders of unfinished output were removed.
        """
        from filelock import FileLock, Timeout

        for file in self.root.glob(f"{LOCKS_DIR}/*.lock"):
            with suppress(Timeout), FileLock(file, timeout=0):
                file.unlink(missing_ok=True)
        return remove_leftovers(self.root, "*/.*", max_age_s)


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that a disk has no space left.

    Libraries report it in their own ways: the errors of safetensors and of databases are no `OSError`.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(message in str(error) for message in _DISK_FULL_MESSAGES):
            return True
        error = error.__cause__ or error.__context__
    return False
