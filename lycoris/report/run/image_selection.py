"""Which of the drawn pictures a page shows: of a large study fewer of each adapter, the same ones of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from lycoris.report.shared.image_store import MAX_EXACT_SIDE, ImageStore

MAX_IMAGES_PER_SET = 24
"""At most so many pictures of one adapter and prompt type are embedded, evenly chosen."""
MAX_SMALL_IMAGES = 9_000
"""At most about so many small pictures of all adapters are embedded."""
MAX_THUMBNAILS = 3_000
"""At most about so many large ones, as thumbnails."""
MAX_PIXELS = 2_000_000_000
"""At most about so many pixels of them are read: a minute's work."""


def images_per_set(models: Sequence[Mapping[str, Any]]) -> int:
    """How many pictures of each adapter and prompt type a page has room for.

    Args:
        drawn: adapters and bases with their ``drawings``.
    """
    sets = [pictures for one in models for pictures in (one.get("drawings") or {}).values() if pictures]
    area = _image_area(sets)
    most = min(MAX_SMALL_IMAGES if area <= MAX_EXACT_SIDE**2 else MAX_THUMBNAILS, MAX_PIXELS // area)
    fits = (count for count in range(MAX_IMAGES_PER_SET, 1, -1) if sum(min(len(own), count) for own in sets) <= most)
    return next(fits, 1)


def _image_area(sets: Sequence[Sequence[Mapping[str, Any]]]) -> int:
    """The pixels of the first picture that says how many it has."""
    for pictures in sets[:8]:
        try:
            with Image.open(pictures[0]["image"]) as image:
                return max(1, image.width * image.height)
        except (KeyError, OSError, ValueError, TypeError, AttributeError, Image.DecompressionBombError):
            continue
    return 1


def subsample(entries: Sequence[Any], count: int = MAX_IMAGES_PER_SET) -> list[Any]:
    """At most so many entries, evenly chosen, the first among them."""
    if len(entries) <= count:
        return list(entries)
    return [entries[place * len(entries) // count] for place in range(count)]


ImageEntry = tuple[int | None, int, Any]


def select_images(
    model: Mapping[str, Any], store: ImageStore, prompts: dict[str, int], count: int
) -> dict[str, list[ImageEntry]]:
    """An adapter's pictures by prompt type, as (number in the album, number of the prompt, seed).

    Args:
        one: an adapter or base.
        album: takes the pictures.
        prompts: prompt -> number, and takes new ones.
        count: of each prompt type, at most.
    """
    return {
        kind: [
            (
                store.add(entry.get("image")),
                prompts.setdefault(entry.get("prompt", ""), len(prompts)),
                entry.get("seed"),
            )
            for entry in subsample(pictures or [], count)
        ]
        for kind, pictures in (model.get("drawings") or {}).items()
    }
