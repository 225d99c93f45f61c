"""Which generated images a page shows: in a large study fewer per adapter, and the same ones for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from lycoris.data.image_opening import open_image
from lycoris.report.run.schema import AdapterRecord, BaseImages, GeneratedImage
from lycoris.report.shared.image_store import MAX_EXACT_SIDE, ImageStore

MAX_IMAGES_PER_SET = 24
"""The most images of one adapter and prompt type that are embedded."""
MAX_SMALL_IMAGES = 9_000
"""The most small images of all adapters that are embedded, roughly."""
MAX_THUMBNAILS = 3_000
"""The most thumbnails of large images, roughly."""
MAX_PIXELS = 2_000_000_000
"""The most pixels of large images that are read, roughly: a minute's work."""

Model = AdapterRecord | BaseImages
ImageEntry = tuple[int | None, int, int | None]
"""The number of an image in the store, the number of its prompt, and its seed."""
Entry = TypeVar("Entry")


def images_per_set(models: Sequence[Model]) -> int:
    """How many images of each adapter and prompt type fit on a page.

    Args:
        models: adapters and bases.
    """
    sets = [images for one in models for images in (one.get("drawings") or {}).values() if images]
    area = _image_area(sets)
    limit = min(MAX_SMALL_IMAGES if area <= MAX_EXACT_SIDE**2 else MAX_THUMBNAILS, MAX_PIXELS // area)
    fitting = (
        count for count in range(MAX_IMAGES_PER_SET, 1, -1) if sum(min(len(images), count) for images in sets) <= limit
    )
    return next(fitting, 1)


def _image_area(sets: Sequence[Sequence[GeneratedImage]]) -> int:
    """The pixels of the first image that can be opened."""
    for images in sets[:8]:
        try:
            with open_image(Path(images[0]["image"] or "")) as image:
                return max(1, image.width * image.height)
        except (KeyError, OSError, ValueError, TypeError, AttributeError):
            continue
    return 1


def subsample(entries: Sequence[Entry], count: int = MAX_IMAGES_PER_SET) -> list[Entry]:
    """At most `count` entries, evenly spaced, beginning with the first."""
    if len(entries) <= count:
        return list(entries)
    return [entries[index * len(entries) // count] for index in range(count)]


def select_images(model: Model, store: ImageStore, prompts: dict[str, int], count: int) -> dict[str, list[ImageEntry]]:
    """The images of an adapter or base that the page shows, by prompt type.

    Args:
        model: the adapter or base.
        store: receives the images.
        prompts: prompt -> number; receives new prompts.
        count: the most images of each prompt type.
    """
    return {
        prompt_type: [
            (
                store.add(entry.get("image")),
                prompts.setdefault(entry.get("prompt", ""), len(prompts)),
                entry.get("seed"),
            )
            for entry in subsample(images or [], count)
        ]
        for prompt_type, images in (model.get("drawings") or {}).items()
    }
