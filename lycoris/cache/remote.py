"""Finished stages where every machine finds them: a folder of any file system that fsspec knows, such as S3.

A stage lies there as it does in a `lycoris.cache.store.Store`, below ``<stage>/<key>/``. Its record is written
last and read
first, so that half a stage is never taken for a whole one, and a stage that is there is not written again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lycoris.cache.integrity import find_corruption
from lycoris.cache.store import RECORD_FILE, temporary_path
from lycoris.errors import InputError
from lycoris.safety.redaction import redact

FSSPEC_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}

UNAVAILABLE_ERRORS = {
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"),  # botocore
    *("ClientConnectionError", "ServerTimeoutError"),  # aiohttp
}
"""Errors of file systems' libraries that say, as `ConnectionError` and `TimeoutError` do, that nobody answers."""


class StoreUnavailableError(InputError):
    """The shared store does not answer for now; what was asked may be asked again."""


class RemoteStore:
    """Stages below one address.

    Args:
        url: as fsspec understands it: ``s3://bucket/prefix``, ``file:///mnt/share``, ``sftp://host/folder``.

    Raises:
        InputError: fsspec knows no such address, or a package is missing.
    """

    def __init__(self, url: str) -> None:
        import fsspec.core

        self.url = url
        scheme = url.partition("://")[0]
        with self._translate_errors("opened"):
            try:
                self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
            except ImportError as error:
                package = FSSPEC_PACKAGES.get(scheme, f"the fsspec package for `{scheme}`")
                extra = "pip install -e '.[s3]'" if package == "s3fs" else f"pip install {package}"
                raise InputError(f"`{redact(url)}` needs {package}, which is not installed: `{extra}`.") from error
            except ValueError as error:
                raise InputError(f"`{redact(url)}` is no address of a shared store: {error}") from error
        self._root = root.rstrip("/")

    def check(self) -> None:
        """Make the place if it is not there, and write, read and remove a file in it.

        Raises:
            InputError: any of that fails.
        """
        probe = f"{self._root}/.probe-{uuid.uuid4().hex}"
        with self._translate_errors("written"):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"probe")
            if self._files.cat_file(probe) != b"probe":
                raise OSError("what was written is not what is read")
            self._files.rm_file(probe)

    def contains(self, stage: str, key: str) -> bool:
        """Whether a finished stage is there."""
        return self._read_record(self._address(stage, key)) is not None

    def put(self, folder: Path) -> bool:
        """Copy a finished stage there, unless it is there already.

        Args:
            folder: ``<root>/<stage>/<key>`` of a store.

        Returns:
            Whether anything was copied.

        Raises:
            InputError: the place cannot be reached or written.
        """
        place = self._address(folder.parent.name, folder.name)
        if self._read_record(place) is not None:
            return False
        with self._translate_errors("written"):
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = file.relative_to(folder).as_posix()
                if name == RECORD_FILE:
                    continue
                self._files.makedirs(f"{place}/{name}".rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(file), f"{place}/{name}")
            self._files.makedirs(place, exist_ok=True)
            self._files.pipe_file(f"{place}/{RECORD_FILE}", (folder / RECORD_FILE).read_bytes())
        return True

    def fetch(self, root: Path, stage: str, key: str, notice: Callable[[str], None] = lambda text: None) -> bool:
        """Copy a finished stage from there into a store, where it appears whole or not at all.

        One with other files than were written counts as missing, and makes room for the next that is put there.

        Args:
            root: of the store.
            stage: the stage's name.
            key: its content key.
            notice: told of a damaged stage.

        Returns:
            Whether it was there, with its files as they were written.

        Raises:
            InputError: the place cannot be reached, or what is there is not as long as it should be.
        """
        place, final = self._address(stage, key), root / stage / key
        record = self._read_record(place)
        if record is None:
            return False
        aside = temporary_path(root / stage, "fetched")
        try:
            with self._translate_errors("read"):
                for name, size in self._list_files(place):
                    if name == RECORD_FILE:
                        continue
                    target = aside / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._files.get_file(f"{place}/{name}", str(target))
                    if target.stat().st_size != size:
                        raise OSError(f"`{stage}/{key}/{name}` has {target.stat().st_size} of {size} bytes")
            aside.mkdir(parents=True, exist_ok=True)
            (aside / RECORD_FILE).write_bytes(record)
            if not _is_intact(aside):
                with self._translate_errors("written"), suppress(FileNotFoundError):
                    self._files.rm_file(f"{place}/{RECORD_FILE}")
                notice(f"Finished work is damaged and counts as missing: `{stage}/{key}` in `{redact(self.url)}`.")
                return False
            _move_into_place(aside, final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return True

    def _address(self, stage: str, key: str) -> str:
        return f"{self._root}/{stage}/{key}"

    def _read_record(self, place: str) -> bytes | None:
        """A stage's record; None if there is none, or but a part of one."""
        record: bytes | None = None
        with self._translate_errors("read"), suppress(FileNotFoundError):
            record = self._files.cat_file(f"{place}/{RECORD_FILE}")
        try:
            json.loads(record or b"")
        except ValueError:
            return None
        return record

    def _list_files(self, place: str) -> list[tuple[str, int]]:
        """Names, below a stage, and bytes of its files."""
        self._files.invalidate_cache()
        found: dict[str, dict[str, Any]] = self._files.find(place, detail=True)
        start = len(place) + 1
        names = [(path[start:], int(about["size"])) for path, about in found.items()]
        for name, _ in names:
            if name.startswith("/") or ".." in name.split("/"):
                raise OSError(f"`{name}` is no name of a stage's file")
        return names

    @contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        """Whatever a file system's library raises, as one sentence."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            kind = StoreUnavailableError if _is_unavailable(error) else InputError
            raise kind(f"The shared store `{redact(self.url)}` cannot be {action}: {redact(said)}") from error


def _is_unavailable(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that nobody answers."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & UNAVAILABLE_ERRORS or isinstance(error, ConnectionError | TimeoutError):
            return True
        if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EHOSTUNREACH, errno.ENETUNREACH):
            return True
        error = error.__cause__ or error.__context__
    return False


def _move_into_place(aside: Path, final: Path) -> None:
    """Move a whole folder to its place, over a damaged one, unless another process was quicker."""
    if final.exists() and not _is_intact(final):
        shutil.rmtree(final, ignore_errors=True)
    try:
        os.replace(aside, final)
    except OSError:
        if not _is_intact(final):
            raise


def _is_intact(folder: Path) -> bool:
    """Whether a finished stage has its files as they were written."""
    try:
        return find_corruption(folder, json.loads((folder / RECORD_FILE).read_bytes()).get("files", {})) is None
    except (OSError, ValueError):
        return False
