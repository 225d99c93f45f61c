"""What came, went, moved or changed between two versions of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lycoris.data.concepts import CONCEPTS_FILE
from lycoris.data.images import IMAGE_SUFFIXES
from tasks.data_versions.dvc import ManifestEntry


@dataclass(frozen=True)
class DataDiff:
    """Paths in the data folder, sorted.

    Attributes:
        came: only in the second version.
        went: only in the first.
        changed: in both, with other bytes.
        moved: (from, to) of files whose bytes are the same under another path.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.moved)


def diff_manifests(first: Sequence[ManifestEntry], second: Sequence[ManifestEntry]) -> DataDiff:
    """Compare two lists of files, ``{"md5", "relpath"}``."""
    before = {entry["relpath"]: entry["md5"] for entry in first}
    after = {entry["relpath"]: entry["md5"] for entry in second}
    came = sorted(after.keys() - before.keys())
    left: dict[str, list[str]] = {}
    for path in sorted(before.keys() - after.keys()):
        left.setdefault(before[path], []).append(path)
    moved = [(left[after[path]].pop(0), path) for path in came if left.get(after[path])]
    targets = {path for _, path in moved}
    return DataDiff(
        added=tuple(path for path in came if path not in targets),
        removed=tuple(sorted(path for paths in left.values() for path in paths)),
        changed=tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
        moved=tuple(moved),
    )


def file_kind(path: str) -> str:
    """What a file of a data folder is: ``"picture"``, ``"caption"``, ``"concepts"`` or ``"file"``."""
    place = PurePosixPath(path)
    if path == CONCEPTS_FILE:
        return "concepts"
    if place.suffix.lower() in IMAGE_SUFFIXES:
        return "picture"
    return "caption" if place.suffix.lower() == ".txt" else "file"
