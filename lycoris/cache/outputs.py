"""Files of a result folder that are written again only if what they are made from, or the file itself, has changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.integrity import file_digest, find_corruption
from lycoris.cache.keys import stage_key

RECORDS_DIR = ".written"
"""Hidden folder of a result folder: for each file, what it was made from and its checksum."""


def write_if_changed(folder: Path, name: str, inputs: Mapping[str, Any], write: Callable[[], object]) -> bool:
    """Write a file, unless it was made from the same inputs before and still has its checksum.

    Args:
        folder: the result folder.
        name: path of the file below it, with slashes.
        inputs: everything that the file depends on, as JSON values.
        write: writes the file; it must appear complete or not at all.

    Returns:
        Whether it was written.
    """
    record, key = folder / RECORDS_DIR / f"{name}.json", stage_key("output", inputs)
    try:
        written = json.loads(record.read_text(encoding="utf-8"))
        if written["key"] == key and find_corruption(folder, {name: written["file"]}) is None:
            return False
    except (OSError, ValueError, KeyError, TypeError):
        pass
    write()
    file = folder / name
    content = {"key": key, "file": [file.stat().st_size, file_digest(file)]}
    atomic_write_text(record, json.dumps(content))
    return True
