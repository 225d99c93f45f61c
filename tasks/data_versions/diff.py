"""What came, went, moved or changed between two versions of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lycoris.data.concepts import FILE
from lycoris.data.images import SUFFIXES
from tasks.data_versions.dvc import Entry


@dataclass(frozen=True)
class Differences:
    """Paths in the data folder, sorted.

    Attributes:
        came: only in the second version.
        went: only in the first.
        changed: in both, with other bytes.
        moved: (from, to) of files whose bytes are the same under another path.
    """

    came: tuple[str, ...]
    went: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.came or self.went or self.changed or self.moved)


def differences(first: Sequence[Entry], second: Sequence[Entry]) -> Differences:
    """Compare two lists of files, ``{"md5", "relpath"}``."""
    before = {entry["relpath"]: entry["md5"] for entry in first}
    after = {entry["relpath"]: entry["md5"] for entry in second}
    came = sorted(after.keys() - before.keys())
    left: dict[str, list[str]] = {}
    for path in sorted(before.keys() - after.keys()):
        left.setdefault(before[path], []).append(path)
    moved = [(left[after[path]].pop(0), path) for path in came if left.get(after[path])]
    targets = {path for _, path in moved}
    return Differences(
        came=tuple(path for path in came if path not in targets),
        went=tuple(sorted(path for paths in left.values() for path in paths)),
        changed=tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
        moved=tuple(moved),
    )


def kind(path: str) -> str:
    """What a file of a data folder is: ``"picture"``, ``"caption"``, ``"concepts"`` or ``"file"``."""
    place = PurePosixPath(path)
    if path == FILE:
        return "concepts"
    if place.suffix.lower() in SUFFIXES:
        return "picture"
    return "caption" if place.suffix.lower() == ".txt" else "file"
