"""A census of a data folder: every file is used, or is named with the reason why it is not."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lycoris.data.caption_files import find_caption_files, is_caption_file
from lycoris.data.concepts import CONCEPTS_FILE, Concept
from lycoris.data.images import IMAGE_SUFFIXES, conditioned_image, find_mask

MAX_NAMES = 20
"""Files that a message names for each reason."""
UNREAD_FORMATS = frozenset(
    {
        *(".jp2", ".svg", ".psd", ".ico", ".tga", ".exr", ".hdr"),
        *(".rw2", ".srw", ".pef", ".nrw", ".3fr", ".xcf", ".psb", ".kra", ".dds", ".qoi", ".ppm", ".jxr"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".raw", ".mp4", ".mov", ".webm", ".mkv", ".avi"),
    }
)
"""Suffixes of images and films that `lycoris.data.images` does not read."""


@dataclass(frozen=True)
class Census:
    """The files of a data folder.

    Attributes:
        root: the data folder.
        used: the files that are read, sorted.
        unused: every other file, broken link and linked folder that is not followed -> why it is not used.
        masks: how many of the files that are used are masks.
        notes: what else the user should know about the files.
    """

    root: Path
    used: tuple[Path, ...]
    unused: dict[Path, str]
    masks: int
    notes: list[str] = field(default_factory=list)

    def messages(self) -> list[str]:
        """One message that counts and names the unused files by reason, and the notes."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for file, reason in sorted(self.unused.items()):
            by_reason[reason].append(file.relative_to(self.root).as_posix())
        parts = []
        for reason, names in by_reason.items():
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            parts.append(f"{len(names)} ({reason}): {', '.join(names[:MAX_NAMES])}{more}")
        total = len(self.used) + len(self.unused)
        summary = [f"{len(self.unused)} of {total} files in `{self.root}` are not used: {'; '.join(parts)}."]
        return [*(summary if parts else []), *self.notes]


def take_census(root: Path, concepts: Sequence[Concept], concepts_file: Path | None = None) -> Census:
    """Count the files of a data folder.

    Args:
        root: the data folder.
        concepts: all its concepts.
        concepts_file: the file that defines them; by default `CONCEPTS_FILE` in `root`.

    Raises:
        InputError: a caption file is not UTF-8 text, or is malformed.
    """
    root = Path(root).absolute()
    images = {image.path for concept in concepts for image in concept.images}
    images |= {image.path for concept in concepts for image in concept.prior_images}
    masks = {mask.absolute() for image in images if (mask := find_mask(image)) is not None}
    captions = find_caption_files(sorted(images), root)
    known = {**dict.fromkeys((*images, *masks), ""), **captions.files()}
    known[(concepts_file or root / CONCEPTS_FILE).absolute()] = ""
    used, unused = [], {}
    for file in _walk(root, {folder for image in images for folder in image.parents}):
        reason = known[file] if file in known else _why_unused(root, file)
        if reason:
            unused[file] = reason
        else:
            used.append(file)
    return Census(root, tuple(sorted(used)), unused, len(masks), list(captions.notes))


def _walk(root: Path, followed: set[Path]) -> Iterator[Path]:
    """Every file, broken link and linked folder below a folder; only linked folders in `followed` are entered."""
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_dir() and (not entry.is_symlink() or path in followed):
                yield from _walk(path, followed)
            else:
                yield path


def _why_unused(root: Path, file: Path) -> str:
    suffix = file.suffix.casefold()
    if any(part.startswith(".") for part in file.relative_to(root).parts):
        return "hidden"
    if file.is_dir():
        return "a linked folder"
    if not file.is_file():
        return "a broken link" if file.is_symlink() else "not a regular file"
    if suffix in IMAGE_SUFFIXES and conditioned_image(file) is not None:
        return "a conditioning image, which no training reads"
    if suffix in IMAGE_SUFFIXES:
        return "an image in no concept"
    if suffix in UNREAD_FORMATS:
        return "a format that is not read"
    if file.name.casefold() == "metadata.parquet":
        return "not read, only metadata.jsonl and metadata.csv are"
    if is_caption_file(file.name):
        return "a caption of no image"
    return "neither image, caption nor mask"
