"""Captions of many images in one file: the metadata of a Hugging Face image folder, and kohya's ``meta_*.json``."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from lycoris.data.text_files import read_text, split_captions
from lycoris.errors import InputError

CaptionKind = Literal["text", "tags", "sentence"]
"""What a caption is: tags, a sentence, or either of them."""

TEXT_FIELDS = ("caption", "captions", "text", "prompt", "description")
"""Names of fields and columns that hold a caption; the first one present counts."""
TAG_FIELDS = ("tags", "tag_string")
FILE_COLUMN = "file_name"
IMAGE_FOLDER_TABLES = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class CaptionSource:
    """What one file says of one image.

    Attributes:
        file: the file.
        kind: of its captions.
        texts: one caption, or several that are drawn from; an empty one says that there is nothing to say.
    """

    file: Path
    kind: CaptionKind
    texts: tuple[str, ...]


@dataclass
class CaptionTable:
    """A file with captions of several images.

    Attributes:
        file: the file.
        rows: image, by its path relative to the file's folder -> its captions. In kohya's files the path may be that of
            another machine, and lack the suffix.
        problem: why the file is of no use; empty if it is.
    """

    file: Path
    rows: dict[str, list[CaptionSource]] = field(default_factory=dict)
    problem: str = ""

    def find(self, image: Path) -> str | None:
        """The key of an image's row."""
        relative = image.relative_to(self.file.parent)
        keys = [relative.as_posix()]
        if self.file.suffix.casefold() == ".json":
            keys += [relative.with_suffix("").as_posix()]
            keys += [self._by_name.get(name, "") for name in (image.name, image.stem)]
        return next((key for key in keys if key in self.rows), None)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """The last part of a key -> the key, where no other key has it."""
        names = Counter(PurePosixPath(key).name for key in self.rows)
        return {name: key for key in self.rows if names[name := PurePosixPath(key).name] == 1}


def read_fields(file: Path, fields: Mapping[str, Any]) -> list[CaptionSource]:
    """The captions in the fields of a record: a text, a list of texts, or tags as a text, a list or keys.

    Raises:
        InputError: a field is none of these.
    """
    text = next((name for name in TEXT_FIELDS if _is_filled(fields.get(name))), None)
    tags = next((name for name in TAG_FIELDS if fields.get(name) not in (None, "", [], {})), None)
    sources = []
    if tags is not None:
        sources.append(CaptionSource(file, "tags", (_tag_text(file, tags, fields[tags]),)))
    if text is not None:
        kind: CaptionKind = "text" if tags is None else "sentence"
        values = fields[text] if isinstance(fields[text], list) else [fields[text]]
        if not all(isinstance(value, str) for value in values):
            raise InputError(f"Field `{text}` in `{file}` must be a text or a list of texts, but got `{values[0]!r}`.")
        texts = tuple(part for value in values for part in split_captions(value))
        sources.append(CaptionSource(file, kind, texts))
    return sources


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table of captions."""
    lower = name.casefold()
    return lower in IMAGE_FOLDER_TABLES or (lower.startswith("meta_") and lower.endswith(".json"))


def read_table(file: Path) -> CaptionTable:
    """Read a table of captions.

    Raises:
        InputError: the file is not UTF-8 text, or a row is not what it should be; the message names file and row.
    """
    if file.suffix.casefold() == ".json":
        return _read_kohya(file)
    table = CaptionTable(file)
    for number, row in _rows(file):
        if not isinstance(row, Mapping) or not isinstance(row.get(FILE_COLUMN), str):
            if number == 1 and not (isinstance(row, Mapping) and FILE_COLUMN in row):
                return CaptionTable(file, problem=f"it has no column `{FILE_COLUMN}`")
            raise InputError(f"Row {number} of `{file}` must have `{FILE_COLUMN}`, the name of an image.")
        sources = read_fields(file, row)
        if not sources:
            columns = [name for name, value in row.items() if name != FILE_COLUMN and isinstance(value, str)]
            if len(columns) == 1 and row[columns[0]]:
                sources = [CaptionSource(file, "text", split_captions(row[columns[0]]))]
        for source in sources:
            name = PurePosixPath(row[FILE_COLUMN].replace("\\", "/")).as_posix()
            _add(table.rows.setdefault(name, []), source)
    if not table.rows:
        table.problem = f"it has no captions (a column `{'`, `'.join((*TEXT_FIELDS, *TAG_FIELDS))}`)"
    return table


def _add(known: list[CaptionSource], source: CaptionSource) -> None:
    """Add what a further row says of an image: several rows are several captions."""
    for index, other in enumerate(known):
        if other.kind == source.kind:
            known[index] = CaptionSource(source.file, source.kind, (*other.texts, *source.texts))
            return
    known.append(source)


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    text = read_text(file)
    if file.suffix.casefold() == ".csv":
        yield from enumerate(csv.DictReader(io.StringIO(text)), start=1)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, parse_json(line, f"Row {number} of `{file}`")


def parse_json(text: str, label: str) -> Any:
    """Parse JSON.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{label} is not JSON: {error}") from error


def _read_kohya(file: Path) -> CaptionTable:
    """Kohya's metadata: image, by a path with or without suffix -> ``caption`` and ``tags``; see sd-scripts."""
    table = CaptionTable(file)
    content = parse_json(read_text(file), f"`{file}`")
    for name, fields in content.items() if isinstance(content, Mapping) else ():
        if isinstance(fields, Mapping) and (sources := read_fields(file, fields)):
            table.rows[str(name).replace("\\", "/")] = sources
    if not table.rows:
        table.problem = "it has no images with a `caption` or `tags`"
    return table


def _is_filled(value: Any) -> bool:
    """Whether a field may hold a caption; programs keep whole workflows under the same names."""
    return value not in (None, "", []) and not isinstance(value, Mapping)


def _tag_text(file: Path, name: str, value: Any) -> str:
    """Tags as a text: a list, tag -> confidence, or category -> tags; ``tag_string`` has spaces between them."""
    if isinstance(value, str):
        if name != "tag_string":
            return value
        value = [tag.replace("_", " ") if len(tag) > 3 else tag for tag in value.split()]
    if isinstance(value, Mapping) and any(isinstance(own, list) for own in value.values()):
        value = [tag for own in value.values() if isinstance(own, list) for tag in own]
    if isinstance(value, list | Mapping) and all(isinstance(tag, str) for tag in value):
        return ", ".join(tag.replace("\\", "\\\\").replace(",", "\\,") for tag in value)
    raise InputError(f"Field `{name}` in `{file}` must be tags, but got `{value!r}`.")
