"""Compare two versions of the data: which files were added, removed, changed or moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lycoris.data.caption_files import is_caption_file
from lycoris.data.concepts import CONCEPTS_FILE
from lycoris.data.images import IMAGE_SUFFIXES
from tasks.data_versions.manifest import ManifestEntry


@dataclass(frozen=True)
class DataDiff:
    """Relative paths, sorted.

    Attributes:
        added: only in the second version.
        removed: only in the first.
        changed: in both, with different bytes.
        moved: (from, to) of files with the same bytes under another path.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]


def diff_manifests(first: Sequence[ManifestEntry], second: Sequence[ManifestEntry]) -> DataDiff:
    """Compare the manifests of two versions."""
    before = {entry["relpath"]: entry["md5"] for entry in first}
    after = {entry["relpath"]: entry["md5"] for entry in second}
    added = sorted(after.keys() - before.keys())
    removed_by_md5: dict[str, list[str]] = {}
    for path in sorted(before.keys() - after.keys()):
        removed_by_md5.setdefault(before[path], []).append(path)
    moved = [(removed_by_md5[after[path]].pop(0), path) for path in added if removed_by_md5.get(after[path])]
    targets = {path for _, path in moved}
    return DataDiff(
        added=tuple(path for path in added if path not in targets),
        removed=tuple(sorted(path for paths in removed_by_md5.values() for path in paths)),
        changed=tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
        moved=tuple(moved),
    )


def file_kind(path: str) -> str:
    """The kind of a file in a data folder: ``"picture"``, ``"caption"``, ``"concepts"`` or ``"file"``."""
    suffix = PurePosixPath(path).suffix.lower()
    if path == CONCEPTS_FILE:
        return "concepts"
    if suffix in IMAGE_SUFFIXES:
        return "picture"
    return "caption" if is_caption_file(path) else "file"
