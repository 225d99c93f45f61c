"""What was seen in a picture, kept under the content key of picture and seer, so that none is looked at twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris.images import read_image
from lycoris.store import file_digest, key

CHUNK = 128
"""Pictures after which what was seen is written down: so many are looked at again after a crash, at most."""


class Opened(Sequence[Image.Image]):
    """Pictures that are opened when asked for, so that a batch is in memory and not all of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        return Opened(self._paths[index]) if isinstance(index, slice) else read_image(self._paths[index])


def look_once(
    folder: Path,
    seer: Mapping[str, Any],
    pictures: Sequence[Path],
    look: Callable[[Sequence[Image.Image]], list[Any]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Any], bool]:
    """What is to be seen in pictures; only those that this seer never saw are opened.

    Args:
        folder: where it is kept, a small file a picture; made if need be.
        seer: everything the outcome depends on besides the bytes of the picture, as values that JSON can hold.
        pictures: paths; two files of the same bytes are one picture.
        look: pictures -> what is seen in each, as JSON can hold it.
        progress: called with how many are done, and of how many.

    Returns:
        One entry a picture, in their order, and whether all were known.

    Raises:
        InputError: a picture cannot be read.
    """
    names = [key("seen", {"picture": file_digest(path), **seer}) for path in pictures]
    known = {name: found for name in dict.fromkeys(names) if (found := _read(_file(folder, name))) is not None}
    waiting = {name: path for name, path in zip(names, pictures, strict=True) if name not in known}
    fresh = list(waiting.items())
    total = len(known) + len(fresh)
    progress(len(known), total)
    for start in range(0, len(fresh), CHUNK):
        chunk = fresh[start : start + CHUNK]
        for (name, _), found in zip(chunk, look(Opened([path for _, path in chunk])), strict=True):
            _write(_file(folder, name), found)
            known[name] = found
        progress(len(known), total)
    return [known[name] for name in names], not fresh


def _file(folder: Path, name: str) -> Path:
    return folder / name[:2] / f"{name}.json"


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(file: Path, found: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    os.replace(aside, file)
