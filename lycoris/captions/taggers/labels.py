"""What the outputs of a tagging network mean: a tag and its category each, from the files beside the weights."""

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
_CATEGORY_NAMES = {"0": GENERAL_CATEGORY, "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"}


@dataclass(frozen=True)
class Label:
    """One output of a tagger: the tag as captions write it, and its category."""

    tag: str
    category: str


def read_labels(folder: Path) -> tuple[Label, ...]:
    """The labels of a tagger's outputs, in the order of the outputs.

    They are the rows of ``selected_tags.csv``, columns ``name`` and ``category`` (a word, or the number that
    taggers of the WD kind use); without that file the ``id2label`` of ``config.json``, all of them general.

    Raises:
        InputError: neither names the outputs, or a name comes twice.
    """
    file = folder / LABEL_FILE
    labels = _labels_from_csv(file) if file.is_file() else _labels_from_config(folder / "config.json")
    return _check_unique(labels, f"Tagger folder `{folder}`")


def read_vocabulary(file: Path) -> tuple[Label, ...]:
    """The tags of a vocabulary file: one a line, all of them general, or a CSV file like ``selected_tags.csv``.

    Raises:
        InputError: the file cannot be read, holds no tag, or a tag comes twice.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The vocabulary `{file}` cannot be read: {error}") from error
    first, *_ = text.splitlines() or [""]
    if {"name", "category"} <= {part.strip() for part in first.split(",")}:
        labels = _labels_from_csv(Path(file))
    else:
        labels = tuple(Label(humanize_tag(line), GENERAL_CATEGORY) for line in text.splitlines() if line.strip())
    if not labels:
        raise InputError(f"The vocabulary `{file}` holds no tag.")
    return _check_unique(labels, f"The vocabulary `{file}`")


def humanize_tag(tag: str) -> str:
    """A tag as captions write it: ``long_hair`` is "long hair", but ``^_^`` and ``(o)_(o)`` stay faces."""
    tag = " ".join(tag.split())
    return tag.replace("_", " ") if _WORD_PATTERN.search(tag) else tag


def _check_unique(labels: tuple[Label, ...], where: str) -> tuple[Label, ...]:
    seen: set[str] = set()
    for label in labels:
        if label.tag in seen:
            raise InputError(f"{where} names the tag `{label.tag}` twice.")
        seen.add(label.tag)
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
            f"Tagger folder `{file.parent}` holds no `{LABEL_FILE}`, nor `id2label` in `config.json`."
        ) from error
