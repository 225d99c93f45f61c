"""Captions in files: beside each image, or in one table of a folder, in the forms that trainers use.

| form | |
|---|---|
| ``01.txt``, ``01.TXT``, ``01.jpg.txt`` | tags, or a sentence |
| ``01.caption``, ``01.jpg.caption`` | a sentence |
| ``01.json``, ``01.jpg.json`` | ``caption``, ``captions``, ``text``, ``prompt``, ``description``, ``tags`` |
| ``metadata.jsonl``, ``metadata.csv`` | a Hugging Face image folder, also of the folders below |
| ``meta_*.json`` | kohya's, also of the folders below |
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lycoris.data.caption_tables import (
    CaptionKind,
    CaptionSource,
    CaptionTable,
    is_table,
    parse_json,
    read_fields,
    read_table,
)
from lycoris.data.text_files import read_text, split_captions
from lycoris.errors import InputError
from lycoris.safety.links import forbidden_target

_SUFFIXES: Mapping[str, tuple[int, CaptionKind]] = {
    ".txt": (0, "text"),
    ".caption": (1, "sentence"),
    ".json": (2, "text"),
}
"""Suffix of a file beside an image -> its rank, and the kind of its captions; those of JSON depend on its fields."""
_TABLE_RANK = 2 * len(_SUFFIXES)
_KIND_RANKS: Mapping[CaptionKind, Mapping[CaptionKind, int]] = {
    "tags": {"text": 0, "tags": 0, "sentence": 1},
    "sentence": {"sentence": 0, "text": 1, "tags": 2},
}
"""What is wanted -> kind -> its rank."""


@dataclass
class CaptionFiles:
    """The caption files of some images.

    Attributes:
        sources: image -> what files say of it, by the rank of their form.
        unread: caption file -> why it is of no use.
        notes: what else the user should know about them.
    """

    sources: dict[Path, list[CaptionSource]] = field(default_factory=dict)
    unread: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def tags(self, image: Path) -> CaptionSource | None:
        """What gives the image's tags: a text or tags, else a sentence."""
        return self._first(image, "tags")

    def sentence(self, image: Path) -> CaptionSource | None:
        """What gives the image's sentence: a sentence, else a text or tags."""
        return self._first(image, "sentence")

    def files(self) -> dict[Path, str]:
        """Every caption file -> why it is not used; empty if it is."""
        result = dict(self.unread)
        for image, sources in self.sources.items():
            used = {one.file for one in (self.tags(image), self.sentence(image)) if one is not None}
            for source in sources:
                reason = "" if source.file in used else "another caption file of the same image takes precedence"
                result[source.file] = reason and result.get(source.file, reason)
        return result

    def _first(self, image: Path, wanted: CaptionKind) -> CaptionSource | None:
        ranks = _KIND_RANKS[wanted]
        return min(self.sources.get(image, ()), key=lambda source: ranks[source.kind], default=None)


def find_caption_files(images: Sequence[Path], root: Path | None = None) -> CaptionFiles:
    """Find and read the caption files of images.

    Files are looked for beside an image as it is listed, not beside the target of a link. Tables are also looked for in
    the folders above, up to `root`.

    Args:
        images: the images; they need not exist.
        root: the data folder; None looks into the images' own folders only.

    Raises:
        InputError: a file is not UTF-8 text, or is malformed; or two images share a file.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for image in dict.fromkeys(images):
        by_folder[image.parent].append(image)
    found = CaptionFiles()
    ranked: dict[Path, list[tuple[int, CaptionSource]]] = defaultdict(list)
    tables: dict[Path, list[CaptionTable]] = {}
    unmatched: dict[Path, set[str]] = {}
    for folder, own in by_folder.items():
        for rank, file, image in _files_beside(folder, own):
            if target := forbidden_target(file, root or folder, image):
                found.unread[file] = f"a link out of the data folder, to `{target}`"
                continue
            sources = _read_beside(file)
            if not sources:
                found.unread[file] = "it has no caption (a field `caption`, `text` or `tags`)"
            ranked[image] += [(rank, source) for source in sources]
        for above in _folders_up_to(folder, root):
            if above not in tables:
                tables[above] = _read_tables(above, root or folder, found)
                unmatched |= {table.file: set(table.rows) for table in tables[above]}
            for image, table in itertools.product(own, tables[above]):
                if (key := table.find(image)) is not None:
                    unmatched[table.file].discard(key)
                    ranked[image] += [(_TABLE_RANK, source) for source in table.rows[key]]
    for image, pairs in ranked.items():
        found.sources[image] = [source for _, source in sorted(pairs, key=lambda pair: pair[0])]
    _note_unmatched(found, tables, unmatched)
    return found


def is_caption_file(path: str) -> bool:
    """Whether a file's name is that of a caption file."""
    name = PurePosixPath(path).name
    return is_table(name) or PurePosixPath(name).suffix.casefold() in _SUFFIXES


def _note_unmatched(
    found: CaptionFiles, tables: Mapping[Path, Sequence[CaptionTable]], unmatched: Mapping[Path, set[str]]
) -> None:
    for table in itertools.chain.from_iterable(tables.values()):
        missing = unmatched[table.file]
        if table.problem or len(missing) == len(table.rows):
            found.unread[table.file] = table.problem or f"it names none of the images, but `{min(missing)}`"
        elif missing:
            found.notes.append(
                f"`{table.file}` has captions of {len(missing)} images that are not there, such as `{min(missing)}`."
            )


def _files_beside(folder: Path, images: Sequence[Path]) -> Iterator[tuple[int, Path, Path]]:
    """The rank, file and image of each caption file beside one of the images."""
    by_name = {_normalize(image.name): image for image in images}
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[_normalize(image.stem)].append(image)
    for name in sorted(_file_names(folder), key=lambda name: (os.path.splitext(name)[1].islower() is False, name)):
        stem, suffix = os.path.splitext(name)
        if suffix.casefold() not in _SUFFIXES:
            continue
        file, stem = folder / name, _normalize(stem)
        rank = 2 * _SUFFIXES[suffix.casefold()][0]
        if stem in by_name:
            yield rank + 1, file, by_name[stem]
        elif len(owners := by_stem.get(stem, ())) > 1:
            raise InputError(f"Two images share the text file `{file}`: rename one of them.")
        elif owners:
            yield rank, file, owners[0]


def _read_beside(file: Path) -> list[CaptionSource]:
    suffix = file.suffix.casefold()
    if suffix != ".json":
        return [CaptionSource(file, _SUFFIXES[suffix][1], split_captions(read_text(file)))]
    content = parse_json(read_text(file), f"`{file}`")
    return read_fields(file, content) if isinstance(content, Mapping) else []


def _read_tables(folder: Path, root: Path, found: CaptionFiles) -> list[CaptionTable]:
    """The tables of a folder; of kohya's files the last one that its tools write comes first."""
    names = sorted((name for name in _file_names(folder) if is_table(name)), reverse=True)
    order = {"meta_lat.json": 0, "meta_clean.json": 1}
    tables = []
    for name in sorted(names, key=lambda name: order.get(name.casefold(), 2)):
        if target := forbidden_target(folder / name, root):
            found.unread[folder / name] = f"a link out of the data folder, to `{target}`"
        else:
            tables.append(read_table(folder / name))
    return tables


def _folders_up_to(folder: Path, root: Path | None) -> list[Path]:
    """A folder and those above it up to `root`, the nearest first."""
    if root is None or not folder.is_relative_to(root):
        return [folder]
    return [folder, *(above for above in folder.parents if above.is_relative_to(root))]


def _file_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]


def _normalize(name: str) -> str:
    """A name for comparison: file systems differ in how they store accents."""
    return unicodedata.normalize("NFC", name)
