"""The page of captions: every image with its tags and its caption under each strategy, and statistics of each class."""

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

FOLDER = Path(__file__).parent
THUMBNAIL_SIDE = 256
"""The longer side of a thumbnail in pixels, unless there are very many."""
PIXEL_BUDGET = 10_240 * 64 * 64
"""The pixels of all thumbnails together: 640 of them at full size, or 10,240 of 64 pixels a side."""
MIN_SIDE = 32
"""The longer side of a thumbnail in pixels, however many there are."""
ROWS_PER_PAGE = 100
"""Images of a class that are shown at a time."""


@dataclass(frozen=True)
class ConceptSection:
    """One class on the page.

    Attributes:
        concept: the concept with its images.
        tags: tag -> confidence for each image.
        concept_tags: the tags that may belong to the concept, from `lycoris.captions.concept_tags`.
        captions: strategy -> one caption per image.
        statistics: of its tags and captions.
        notes: remarks for the user, in sentences; words between backticks are code.
    """

    concept: Concept
    tags: Sequence[Mapping[str, float]]
    concept_tags: Sequence[ConceptTag]
    captions: Mapping[str, Sequence[str]]
    statistics: CaptionStatistics
    notes: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class CaptionSources:
    """What the captions on the page come from.

    Attributes:
        tagger: the source of the tags.
        base: the base model whose tokenizer counts the tokens.
        token_limit: the tokens that this base reads.
        captioner: the source of the sentences; None where no strategy needs them.
        prompt: what the captioner is asked for; None for nothing.
        data_version: hash of the data folder; None if it is not known.
        notes: what these models do not know of the images.
    """

    tagger: str
    base: str
    token_limit: int
    captioner: str | None = None
    prompt: str | None = None
    data_version: str | None = None
    notes: Sequence[str] = ()


def render(sections: Sequence[ConceptSection], out: Path, *, title: str, sources: CaptionSources) -> Path:
    """Write the page of captions as one HTML file that loads nothing over the network.

    Args:
        sections: one per class.
        out: the file. An interrupted write leaves no partial file.
        title: its heading.
        sources: what the captions come from.

    Returns:
        ``out``.
    """
    images = [image for section in sections for image in section.concept.images]
    side = min(THUMBNAIL_SIDE, max(MIN_SIDE, math.isqrt(PIXEL_BUDGET // max(1, len(images)))))
    store = ImageStore(side=side, resize_small=True)
    image_numbers = {image.path: store.add(image.path) for image in images}
    return write_page(
        "captions/captions.html",
        out,
        styles=[FOLDER / "captions.css"],
        scripts=[FOLDER / "captions.js"],
        title=title,
        sources=sources,
        image_count=len(images),
        rows_per_page=ROWS_PER_PAGE,
        concepts=sections,
        removed_tags={section.concept.name: _removed_tags(section) for section in sections},
        plain_tag=normalize_tag,
        image_numbers=image_numbers,
        images=store.encode(),
        unreadable=store.unreadable,
    )


def _removed_tags(section: ConceptSection) -> dict[str | None, set[str]]:
    """Subclass -> the normalized tags that belong to the concept there."""
    return {
        subclass: {
            normalize_tag(tag.tag) for tag in section.concept_tags if tag.inherent and tag.subclass in (None, subclass)
        }
        for subclass in {image.subclass for image in section.concept.images}
    }
