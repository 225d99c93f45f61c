"""The labels of a tagger's outputs: a tag and a category each, from the files next to the weights."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from lycoris.errors import InputError

LABEL_FILE = "selected_tags.csv"
GENERAL_CATEGORY = "general"
_WORD_PATTERN = re.compile(r"[^\W_]{2}")
_CATEGORY_NAMES = {
    "0": GENERAL_CATEGORY,
    "1": "artist",
    "3": "copyright",
    "4": "character",
    "5": "meta",
    "9": "rating",
}
"""The numbers that WD taggers use for categories."""


@dataclass(frozen=True)
class Label:
    """One output of a tagger: the tag as captions write it, and its category."""

    tag: str
    category: str


def read_labels(folder: Path) -> tuple[Label, ...]:
    """Read the labels of a tagger in the order of its outputs.

    They are the rows of ``selected_tags.csv`` with columns ``name`` and ``category`` (a word, or the number that WD
    taggers use); without that file the ``id2label`` of ``config.json``, all in the category ``general``.

    Raises:
        InputError: neither file names the outputs, or a name occurs twice.
    """
    file = folder / LABEL_FILE
    labels = _labels_from_csv(file) if file.is_file() else _labels_from_config(folder / "config.json")
    return _check_unique(labels, f"Tagger folder `{folder}`")


def read_vocabulary(file: Path) -> tuple[Label, ...]:
    """Read a vocabulary file: one general tag per line, or a CSV file like ``selected_tags.csv``.

    Raises:
        InputError: the file cannot be read, holds no tag, or a tag occurs twice.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The vocabulary `{file}` cannot be read: {error}") from error
    first, *_ = text.splitlines() or [""]
    if {"name", "category"} <= {column.strip() for column in first.split(",")}:
        labels = _labels_from_csv(Path(file))
    else:
        labels = tuple(Label(humanize_tag(line), GENERAL_CATEGORY) for line in text.splitlines() if line.strip())
    if not labels:
        raise InputError(f"The vocabulary `{file}` holds no tag.")
    return _check_unique(labels, f"The vocabulary `{file}`")


def humanize_tag(tag: str) -> str:
    """Write a tag as captions do: ``long_hair`` becomes "long hair", but ``^_^`` and ``(o)_(o)`` stay emoticons."""
    tag = " ".join(tag.split())
    return tag.replace("_", " ") if _WORD_PATTERN.search(tag) else tag


def _check_unique(labels: tuple[Label, ...], source: str) -> tuple[Label, ...]:
    tags: set[str] = set()
    for label in labels:
        if label.tag in tags:
            raise InputError(f"{source} names the tag `{label.tag}` twice.")
        tags.add(label.tag)
    return labels


def _labels_from_csv(file: Path) -> tuple[Label, ...]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return tuple(
            Label(humanize_tag(row["name"]), _CATEGORY_NAMES.get(row["category"].strip(), row["category"].strip()))
            for row in rows
        )
    except (UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise InputError(f"Tag list `{file}` must be a CSV file with columns `name` and `category`: {error}") from error


def _labels_from_config(file: Path) -> tuple[Label, ...]:
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["id2label"]
        return tuple(Label(humanize_tag(str(names[index])), GENERAL_CATEGORY) for index in sorted(names, key=int))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Tagger folder `{file.parent}` must hold `{LABEL_FILE}` or `id2label` in `config.json`, but has neither."
        ) from error
