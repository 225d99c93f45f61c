"""The page of captions: every picture with its tags and its caption under each strategy, and the numbers of a class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lycoris.captions.concept_tags import ConceptTag, normalize_tag
from lycoris.captions.statistics import CaptionStatistics
from lycoris.data.concepts import Concept
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.templates import write_page

PAGE_FOLDER = Path(__file__).parent
THUMBNAIL_SIDE = 256
"""The longer side of a thumbnail, in pixels, unless there are very many."""
PIXEL_BUDGET = 10_240 * 64 * 64
"""So many pixels of thumbnails are kept in all: 640 of them at full size, 10,240 of 64 pixels a side."""
MIN_SIDE = 32
"""The longer side of a thumbnail, in pixels, however many there are."""
ROWS_PER_PAGE = 100
"""Pictures of a class that are shown at a time."""


@dataclass(frozen=True)
class ConceptSection:
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
    inherent: Sequence[ConceptTag]
    captions: Mapping[str, Sequence[str]]
    numbers: CaptionStatistics
    notes: Sequence[str] = field(default_factory=tuple)


def render(
    sections: Sequence[ConceptSection], out: Path, *, title: str, tagger: str, base: str, token_limit: int
) -> Path:
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
    count = sum(len(sheet.concept.images) for sheet in sections)
    album = ImageStore(
        side=min(THUMBNAIL_SIDE, max(MIN_SIDE, math.isqrt(PIXEL_BUDGET // max(1, count)))), resize_small=True
    )
    places = {picture.path: album.add(picture.path) for sheet in sections for picture in sheet.concept.images}
    return write_page(
        "page.html",
        out,
        folder=PAGE_FOLDER,
        styles=[PAGE_FOLDER / "page.css"],
        scripts=[PAGE_FOLDER / "page.js"],
        title=title,
        tagger=tagger,
        base=base,
        window=token_limit,
        pictures=count,
        rows=ROWS_PER_PAGE,
        sheets=sections,
        removed={sheet.concept.name: _removed_tags(sheet) for sheet in sections},
        plain=normalize_tag,
        places=places,
        encoded=album.encode(),
        unread=album.unreadable,
    )


def _removed_tags(sheet: ConceptSection) -> dict[str | None, set[str]]:
    """Subclass -> the tags that belong to the concept there, as `plain_tag` writes them."""
    return {
        own: {normalize_tag(entry.tag) for entry in sheet.inherent if entry.inherent and entry.subclass in (None, own)}
        for own in {picture.subclass for picture in sheet.concept.images}
    }
