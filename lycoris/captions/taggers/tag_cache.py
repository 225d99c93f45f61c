"""What was seen in a picture, kept under the content key of picture and seer, so that none is looked at twice."""

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
"""Pictures after which what was seen is written down: so many are looked at again after a crash, at most."""

RESULT_FIELD, CHECKSUM_FIELD = "seen", "sha256"
"""Names in a file of what was seen, and of the sum over it."""


class LazyImages(Sequence[Image.Image]):
    """Pictures that are opened when asked for, so that a batch is in memory and not all of them.

    One that cannot be used is grey, and `bad` says at its place what is wrong with it.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.invalid: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
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
    """What is to be seen in pictures; only those that this seer never saw are opened.

    Args:
        folder: where it is kept, a small file a picture; made if need be.
        seer: everything the outcome depends on besides the bytes of the picture, as values that JSON can hold.
        pictures: paths; two files of the same bytes are one picture.
        look: pictures -> what is seen in each, as JSON can hold it.
        progress: called with how many are done, and of how many.

    Returns:
        One entry a picture that can be used, in their order; path -> what is wrong with it, of the others, which are
        not kept; and whether all that could be seen was known.

    Raises:
        FileNotFoundError: a picture is not there.
    """
    names = [stage_key("seen", {"picture": file_digest(path), **key_inputs}) for path in paths]
    known = {
        name: found for name in dict.fromkeys(names) if (found := _read_entry(_entry_file(folder, name))) is not None
    }
    waiting = list({name: path for name, path in zip(names, paths, strict=True) if name not in known}.items())
    before, total = len(known), len(known) + len(waiting)
    reasons: dict[str, str] = {}
    progress(before, total)
    for start in range(0, len(waiting), CHUNK_SIZE):
        chunk = waiting[start : start + CHUNK_SIZE]
        opened = LazyImages([path for _, path in chunk])
        for place, ((name, _), found) in enumerate(zip(chunk, compute(opened), strict=True)):
            if place in opened.invalid:
                reasons[name] = opened.invalid[place]
            else:
                _write_entry(_entry_file(folder, name), found)
                known[name] = found
        progress(len(known) + len(reasons), total)
    bad = {path: reasons[name] for name, path in zip(names, paths, strict=True) if name in reasons}
    return [known[name] for name in names if name in known], bad, len(known) == before


def _entry_file(folder: Path, name: str) -> Path:
    return folder / name[:2] / f"{name}.json"


def _read_entry(file: Path) -> Any:
    """What a file keeps, or None where there is none with what was written; older ones hold it without a sum."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        kept = {RESULT_FIELD: None, CHECKSUM_FIELD: None}
    if not (isinstance(kept, dict) and kept.keys() == {RESULT_FIELD, CHECKSUM_FIELD}):
        return kept
    if kept[CHECKSUM_FIELD] == _checksum(kept[RESULT_FIELD]):
        return kept[RESULT_FIELD]
    logger.warning("A cached result is damaged and is computed again: `%s`.", file)
    return None


def _write_entry(file: Path, result: Any) -> None:
    atomic_write_text(file, json.dumps({RESULT_FIELD: result, CHECKSUM_FIELD: _checksum(result)}, ensure_ascii=False))


def _checksum(result: Any) -> str:
    """SHA-256 of what was seen, whichever way it is written down."""
    return hashlib.sha256(json.dumps(result).encode()).hexdigest()
