"""The image in an adapter file's header: a small copy of one that was generated during its training."""

from __future__ import annotations

import io
from pathlib import Path

THUMBNAIL_SIDE = 256
"""Largest side in pixels, by the ModelSpec standard."""


def last_sample_thumbnail(folder: Path) -> bytes | None:
    """Return the first image that was generated last in a training, as a small JPEG; None where none was.

    Args:
        folder: with a folder of images for each count of steps or epochs.
    """
    from lycoris.data.image_opening import open_image

    counts = sorted((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), reverse=True)
    file = next((file for count in counts for file in sorted((folder / str(count)).glob("*.png"))), None)
    if file is None:
        return None
    stream = io.BytesIO()
    with open_image(file) as image:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image.convert("RGB").save(stream, "JPEG", quality=80)
    return stream.getvalue()
