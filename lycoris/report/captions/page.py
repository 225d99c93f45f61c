"""The page of captions: every picture with its tags and its caption under each strategy, and the numbers of a class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lycoris.captions.concept_tags import Inherent, plain_tag
from lycoris.captions.statistics import Statistics
from lycoris.data.concepts import Concept
from lycoris.report.shared.image_store import Album
from lycoris.report.shared.templates import write_page

HERE = Path(__file__).parent
SIDE = 256
"""The longer side of a thumbnail, in pixels, unless there are very many."""
PIXELS = 10_240 * 64 * 64
"""So many pixels of thumbnails are kept in all: 640 of them at full size, 10,240 of 64 pixels a side."""
SMALLEST = 32
"""The longer side of a thumbnail, in pixels, however many there are."""
ROWS = 100
"""Pictures of a class that are shown at a time."""


@dataclass(frozen=True)
class Sheet:
    """One class on the page.

    Attributes:
        concept: with its pictures.
        tags: tag -> confidence for each picture.
        inherent: from `lycoris.captions.inherent_tags`.
        captions: strategy -> one caption a picture.
        numbers: of its tags and captions.
        notes: what the user should know, in sentences; words between backticks are code.
    """

    concept: Concept
    tags: Sequence[Mapping[str, float]]
    inherent: Sequence[Inherent]
    captions: Mapping[str, Sequence[str]]
    numbers: Statistics
    notes: Sequence[str] = field(default_factory=tuple)


def render(sheets: Sequence[Sheet], out: Path, *, title: str, tagger: str, base: str, window: int) -> Path:
    """Write the page of captions as one HTML file that needs nothing else and asks no network.

    Args:
        sheets: one a class.
        out: the file, which appears whole or not at all.
        title: its heading.
        tagger: what the tags come from.
        base: whose tokenizer the captions are held against.
        window: tokens that this base reads.

    Returns:
        ``out``.
    """
    count = sum(len(sheet.concept.pictures) for sheet in sheets)
    album = Album(side=min(SIDE, max(SMALLEST, math.isqrt(PIXELS // max(1, count)))), close=True)
    places = {picture.path: album.add(picture.path) for sheet in sheets for picture in sheet.concept.pictures}
    return write_page(
        "page.html",
        out,
        folder=HERE,
        styles=[HERE / "page.css"],
        scripts=[HERE / "page.js"],
        title=title,
        tagger=tagger,
        base=base,
        window=window,
        pictures=count,
        rows=ROWS,
        sheets=sheets,
        removed={sheet.concept.name: _removed(sheet) for sheet in sheets},
        plain=plain_tag,
        places=places,
        encoded=album.encode(),
        unread=album.unread,
    )


def _removed(sheet: Sheet) -> dict[str | None, set[str]]:
    """Subclass -> the tags that belong to the concept there, as `plain_tag` writes them."""
    return {
        own: {plain_tag(entry.tag) for entry in sheet.inherent if entry.inherent and entry.subclass in (None, own)}
        for own in {picture.subclass for picture in sheet.concept.pictures}
    }
