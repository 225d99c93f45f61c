"""A cache of tags and sentences per image, keyed by the image's bytes and the model, so that none is computed twice."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import stage_key
from lycoris.data.images import MIN_SIDE, InvalidImageError, read_image

logger = logging.getLogger(__name__)

CHUNK_SIZE = 128
"""Images between two writes: at most so many are computed again after a crash."""

RESULT_FIELD, CHECKSUM_FIELD = "result", "sha256"


class LazyImages(Sequence[Image.Image]):
    """Images that are opened on access, so that only one batch is in memory.

    An invalid image becomes a grey one, and `invalid` holds its error by index.

    Args:
        paths: the image files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.invalid: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        path = self._paths[index]
        try:
            return read_image(path)
        except InvalidImageError as error:
            self.invalid[range(len(self))[index]] = str(error)
            return Image.new("RGB", (MIN_SIDE, MIN_SIDE), "grey")


def compute_cached(
    folder: Path,
    key_inputs: Mapping[str, Any],
    paths: Sequence[Path],
    compute: Callable[[Sequence[Image.Image]], list[Any]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Any], dict[Path, str], bool]:
    """Compute a result for each image; only images that are not in the cache are opened.

    Args:
        folder: the cache, one small file per image; created if needed.
        key_inputs: everything the results depend on besides the image's bytes, as JSON values.
        paths: the image files; two files with the same bytes are one image.
        compute: images -> one JSON value each.
        progress: called with the number of finished images and the total.

    Returns:
        The results of the valid images in order; path -> error of the invalid images, which are not cached; and
        whether every valid result came from the cache.

    Raises:
        FileNotFoundError: an image file does not exist.
    """
    keys = [stage_key("image", {"image": file_digest(path), **key_inputs}) for path in paths]
    entries = {key: _read_entry(_entry_file(folder, key)) for key in dict.fromkeys(keys)}
    results = {key: result for key, result in entries.items() if result is not None}
    missing = list({key: path for key, path in zip(keys, paths, strict=True) if key not in results}.items())
    before, total = len(results), len(results) + len(missing)
    errors: dict[str, str] = {}
    progress(before, total)
    for start in range(0, len(missing), CHUNK_SIZE):
        chunk = missing[start : start + CHUNK_SIZE]
        images = LazyImages([path for _, path in chunk])
        for index, ((key, _), result) in enumerate(zip(chunk, compute(images), strict=True)):
            if index in images.invalid:
                errors[key] = images.invalid[index]
            else:
                _write_entry(_entry_file(folder, key), result)
                results[key] = result
        progress(len(results) + len(errors), total)
    invalid = {path: errors[key] for key, path in zip(keys, paths, strict=True) if key in errors}
    return [results[key] for key in keys if key in results], invalid, len(results) == before


def _entry_file(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json"


def _read_entry(file: Path) -> Any:
    """The result in a cache file, or None if the file is missing or damaged."""
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        entry = None
    if (
        isinstance(entry, dict)
        and entry.keys() == {RESULT_FIELD, CHECKSUM_FIELD}
        and entry[CHECKSUM_FIELD] == _checksum(entry[RESULT_FIELD])
    ):
        return entry[RESULT_FIELD]
    logger.warning("A cached result is damaged and is computed again: `%s`.", file)
    return None


def _write_entry(file: Path, result: Any) -> None:
    text = json.dumps({RESULT_FIELD: result, CHECKSUM_FIELD: _checksum(result)}, ensure_ascii=False)
    atomic_write_text(file, text)


def _checksum(result: Any) -> str:
    """SHA-256 of a result's JSON form."""
    return hashlib.sha256(json.dumps(result).encode()).hexdigest()
