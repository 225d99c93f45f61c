"""Aspect-ratio buckets: image sizes of about the same area, so that images keep their shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lycoris.errors import InputError

MIN_SIDE, MAX_SIDE, SIDE_STEP = 320 / 512, 960 / 512, 64
"""Sides from 320 to 960 in steps of 64 at 512 pixels, proportional at other resolutions."""


def bucket_sizes(resolution: int, multiple: int) -> list[tuple[int, int]]:
    """The sizes that images are resized and cropped to.

    Every width on the grid is paired with the greatest height on the grid that keeps the area within the resolution
    squared, and vice versa.

    Args:
        resolution: side of the square images that the base was trained on, in pixels.
        multiple: every side is a multiple of this many pixels.

    Returns:
        (width, height) pairs in pixels, by ascending width; the square one is always included.

    Raises:
        InputError: the resolution is not such a multiple.
    """
    if resolution < multiple or resolution % multiple:
        raise InputError(f"Argument `resolution` must be a multiple of {multiple} for this base, but got {resolution}.")
    step = SIDE_STEP if resolution >= 512 else max(multiple, round(SIDE_STEP / 512 * resolution / multiple) * multiple)
    shortest = math.ceil(MIN_SIDE * resolution / step) * step
    longest = math.floor(MAX_SIDE * resolution / step) * step
    sizes = {(resolution, resolution)}
    for width in range(shortest, longest + 1, step):
        height = min(longest, resolution**2 // width // step * step)
        if height >= shortest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def nearest_bucket(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The bucket whose aspect ratio is nearest to an image's, in log ratio; the larger of two equally near ones."""
    ratio = math.log(width / height)
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - ratio), -size[0] * size[1]))
