"""Finished work, kept under the hash of all it depended on, so that it is never done twice.

A *stage* is one step of the pipeline (captions, train, draw ...). Its key is the SHA-256 of everything its
result depends on; its output is a folder under that key, which appears whole or not at all.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lycoris.cache.integrity import checksums, file_digest, find_corruption
from lycoris.errors import InputError

RECORD_FILE = "stage.json"
LOCKS_DIR = ".locks"
DISK_FULL_HINT = "Everything finished before is kept; make room and run again."
_NODES_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_DISK_FULL_MESSAGES = ("No space left on device", "Disk quota exceeded", "database or disk is full")
PACKAGE_ROOT = Path(__file__).parent.parent


def stage_key(stage: str, inputs: Mapping[str, Any]) -> str:
    """The content key of a stage: 64 hexadecimal digits.

    Args:
        stage: the stage's name.
        inputs: everything the result depends on, as values that JSON can hold.
    """
    text = json.dumps({"stage": stage, **inputs}, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of every file below a folder, hidden ones left out."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            whole.update(f"{relative.as_posix()}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


@lru_cache
def source_hash(*places: str) -> str:
    """The version of the code of a stage: a hash that comments, docstrings and layout do not change.

    Args:
        places: files or folders of the ``lycoris`` package the stage runs through, such as ``"training"``.

    Returns:
        16 hexadecimal digits.
    """
    whole = hashlib.sha256()
    for place in sorted(places):
        root = PACKAGE_ROOT / place
        files = sorted(root.rglob("*.py")) if root.is_dir() else [root]
        for file in files:
            tree = ast.parse(file.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, _NODES_WITH_DOCSTRING) and node.body and _is_docstring(node.body[0]):
                    node.body = node.body[1:]
            whole.update(f"{file.relative_to(PACKAGE_ROOT).as_posix()}\0{ast.dump(tree)}\n".encode())
    return whole.hexdigest()[:16]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass(frozen=True)
class StoredStage:
    """One finished stage: where its output lies and whether it was there already."""

    name: str
    key: str
    folder: Path
    cached: bool
    seconds: float


class Store:
    """Finished stages below one folder: ``<root>/<stage>/<key>/``.

    Args:
        root: made when absent.
        notice: told of a finished stage whose files are not as they were written; it counts as missing.

    Raises:
        InputError: the folder cannot be made or written.
    """

    def __init__(self, root: Path, notice: Callable[[str], None] = lambda _: None):
        self.root = Path(root)
        self.notice = notice
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"The output folder `{self.root}` cannot be written: {error.strerror}. "
                "Choose another with `--set output=FOLDER`."
            ) from error

    def find(self, stage: str, inputs: Mapping[str, Any]) -> StoredStage | None:
        """The finished stage of these inputs, or None where there is none with its files as they were written.

        Stages of before files were summed are taken as they are.
        """
        name = stage_key(stage, inputs)
        folder = self.root / stage / name
        try:
            record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
            found = StoredStage(stage, name, folder, cached=True, seconds=float(record["seconds"]))
            wrong = find_corruption(folder, record.get("files", {}))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            wrong = f"`{RECORD_FILE}` cannot be read"
        if wrong is not None:
            self.notice(f"Finished work is damaged and counts as missing: in `{folder}`, {wrong}.")
            return None
        return found

    @contextmanager
    def create(self, stage: str, inputs: Mapping[str, Any]) -> Iterator[Path]:
        """A folder to write a stage's output into; it takes its place when the block ends without an error.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        name = stage_key(stage, inputs)
        final = self.root / stage / name
        aside = temporary_path(self.root / stage, name[:16])
        started = time.monotonic()
        try:
            aside.mkdir(parents=True)
            yield aside
            seconds = time.monotonic() - started
            record = {"stage": stage, "inputs": dict(inputs), "seconds": seconds, "files": checksums(aside)}
            (aside / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
            if final.exists() and self.find(stage, inputs) is None:
                shutil.rmtree(final)
            try:
                os.replace(aside, final)
            except OSError as error:  # another process finished the same work first
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        except Exception as error:
            if is_full_disk(error):
                raise InputError(
                    f"The disk that holds `{self.root}` is full: stage `{stage}` was not kept. {DISK_FULL_HINT}"
                ) from error
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                raise InputError(f"The output folder `{self.root}` cannot be written: {error.strerror}.") from error
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Wait until no other process is in this block with the same key, on this store.

        The lock is the system's, which frees it when its process ends, however it ends; the file that it needs is
        removed by whoever leaves the block, or by `sweep`.

        Args:
            key: of a stage; 64 hexadecimal digits.
            waiting: called if another process is there.
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

    def remove_stale(self, older_than: float = 86_400.0) -> int:
        """Remove what killed processes left half done.

        Args:
            older_than: seconds after which also the work of another machine is taken for left.

        Returns:
            How many folders were removed.
        """
        from filelock import FileLock, Timeout

        for file in self.root.glob(f"{LOCKS_DIR}/*.lock"):
            with suppress(Timeout), FileLock(file, timeout=0):
                file.unlink(missing_ok=True)
        count = 0
        for aside in self.root.glob("*/.*-*-*-*"):
            *_, machine, process, _ = aside.name.split("-")
            left = (
                not is_process_running(int(process))
                if machine == machine_id()
                else time.time() - aside.stat().st_mtime > older_than
            )
            if left:
                shutil.rmtree(aside, ignore_errors=True)
                count += 1
        return count


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk has no room left.

    Libraries say so in their own ways: safetensors and databases raise errors that are no `OSError`.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in _DISK_FULL_MESSAGES):
            return True
        error = error.__cause__ or error.__context__
    return False


def temporary_path(folder: Path, name: str) -> Path:
    """Where this process may write what then takes its place in a folder of a store; `Store.sweep` removes it else.

    Args:
        folder: one level below the store's root.
        name: told in the path, without dashes.
    """
    return folder / f".{name}-{machine_id()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@lru_cache
def machine_id() -> str:
    """This machine, in a few letters."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def is_process_running(pid: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
