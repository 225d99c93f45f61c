"""A store of finished stages that all machines reach: a folder of any file system that fsspec supports, such as S3.

A stage has the same layout as in a `lycoris.cache.store.Store`, below ``<stage>/<key>/``. Its record is written last
and read first, so that a partial stage is never taken for a complete one, and an existing stage is not written again.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lycoris.cache.atomic import atomic_dir
from lycoris.cache.integrity import find_corruption
from lycoris.cache.store import RECORD_FILE
from lycoris.errors import InputError
from lycoris.safety.redaction import redact

FSSPEC_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""URL scheme -> the package that implements it for fsspec."""

UNAVAILABLE_ERRORS = {
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"),  # botocore
    *("ClientConnectionError", "ServerTimeoutError"),  # aiohttp
}
"""Names of library errors that mean, as `ConnectionError` and `TimeoutError` do, that the server does not answer."""

logger = logging.getLogger(__name__)


class StoreUnavailableError(InputError):
    """The remote store does not answer at the moment; the operation may be retried."""


class RemoteStore:
    """Finished stages below one URL.

    Args:
        url: as fsspec takes it: ``s3://bucket/prefix``, ``file:///mnt/share``, ``sftp://host/folder``.

    Raises:
        InputError: fsspec does not support the URL, or a package is missing.
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
                extra = "pip install 'lycoris-pipeline[s3]'" if package == "s3fs" else f"pip install {package}"
                raise InputError(f"`{redact(url)}` needs {package}, which is not installed: `{extra}`.") from error
            except ValueError as error:
                raise InputError(f"`{redact(url)}` is not the URL of a remote store: {error}") from error
        self._root = root.rstrip("/")

    def check(self) -> None:
        """Create the root if it does not exist, and write, read and remove a file in it.

        Raises:
            InputError: any of these fails.
        """
        probe = f"{self._root}/.probe-{uuid.uuid4().hex}"
        with self._translate_errors("written"):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"probe")
            if self._files.cat_file(probe) != b"probe":
                raise OSError("the bytes read differ from those written")
            self._files.rm_file(probe)

    def contains(self, stage: str, key: str) -> bool:
        """Whether a finished stage is in the store."""
        return self._read_record(self._address(stage, key)) is not None

    def put(self, folder: Path) -> bool:
        """Upload a finished stage, unless the store has it.

        Args:
            folder: ``<root>/<stage>/<key>`` of a local store.

        Returns:
            Whether anything was uploaded.

        Raises:
            InputError: the store cannot be reached or written.
        """
        address = self._address(folder.parent.name, folder.name)
        if self._read_record(address) is not None:
            return False
        with self._translate_errors("written"):
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = file.relative_to(folder).as_posix()
                if name == RECORD_FILE:
                    continue
                self._files.makedirs(f"{address}/{name}".rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(file), f"{address}/{name}")
            self._files.makedirs(address, exist_ok=True)
            self._files.pipe_file(f"{address}/{RECORD_FILE}", (folder / RECORD_FILE).read_bytes())
        return True

    def fetch(self, root: Path, stage: str, key: str) -> bool:
        """Download a finished stage into a local store, where it appears complete or not at all.

        A damaged stage is logged, counts as missing, and is replaced by the next one uploaded.

        Args:
            root: of the local store.
            stage: name of the stage.
            key: its content key.

        Returns:
            Whether the store has the stage, with files that match their checksums.

        Raises:
            InputError: the store cannot be reached, or a file has another length than the store says.
        """
        address, final = self._address(stage, key), root / stage / key
        record = self._read_record(address)
        if record is None:
            return False
        with suppress(_DamagedError), atomic_dir(final, keep_existing=_is_intact) as folder:
            with self._translate_errors("read"):
                self._download(address, folder)
            (folder / RECORD_FILE).write_bytes(record)
            if not _is_intact(folder):
                raise _DamagedError
            if final.exists() and not _is_intact(final):
                shutil.rmtree(final, ignore_errors=True)
            return True
        with self._translate_errors("written"), suppress(FileNotFoundError):
            self._files.rm_file(f"{address}/{RECORD_FILE}")
        logger.warning("Finished work is damaged and counts as missing: `%s/%s` in `%s`.", stage, key, redact(self.url))
        return False

    def _download(self, address: str, folder: Path) -> None:
        for name, size in self._list_files(address):
            if name == RECORD_FILE:
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(f"{address}/{name}", str(target))
            if target.stat().st_size != size:
                raise OSError(f"`{address}/{name}` has {target.stat().st_size} of {size} bytes")

    def _address(self, stage: str, key: str) -> str:
        return f"{self._root}/{stage}/{key}"

    def _read_record(self, address: str) -> bytes | None:
        """A stage's record; None if there is none, or only part of one."""
        record: bytes | None = None
        with self._translate_errors("read"), suppress(FileNotFoundError):
            record = self._files.cat_file(f"{address}/{RECORD_FILE}")
        try:
            json.loads(record or b"")
        except ValueError:
            return None
        return record

    def _list_files(self, address: str) -> list[tuple[str, int]]:
        """Relative paths of a stage's files, and their sizes in bytes."""
        self._files.invalidate_cache()
        entries: dict[str, dict[str, Any]] = self._files.find(address, detail=True)
        start = len(address) + 1
        files = [(path[start:], int(entry["size"])) for path, entry in entries.items()]
        for name, _ in files:
            if name.startswith("/") or ".." in name.split("/"):
                raise OSError(f"`{name}` is not a valid file name of a stage")
        return files

    @contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        """Turn any error of a file system's library into an `InputError` of one sentence."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            message = redact(f"{type(error).__name__}: {error}")
            kind = StoreUnavailableError if _is_unavailable(error) else InputError
            raise kind(f"The shared store `{redact(self.url)}` cannot be {action}: {message}") from error


class _DamagedError(Exception):
    """A downloaded stage does not match its checksums."""


def _is_unavailable(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that the server does not answer."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & UNAVAILABLE_ERRORS or isinstance(error, ConnectionError | TimeoutError):
            return True
        if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EHOSTUNREACH, errno.ENETUNREACH):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_intact(folder: Path) -> bool:
    """Whether the files of a finished stage match their checksums."""
    try:
        return find_corruption(folder, json.loads((folder / RECORD_FILE).read_bytes())["files"]) is None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # another machine may have written any record
        return False
