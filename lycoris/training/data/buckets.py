"""Aspect-ratio buckets: picture sizes of about one area, so that pictures keep their shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lycoris.errors import InputError

MIN_SIDE, MAX_SIDE, SIDE_STEP = 320 / 512, 960 / 512, 64
"""Sides from 320 to 960 in steps of 64 at 512 pixels, in proportion at other resolutions."""


def bucket_sizes(resolution: int, vae_scale_factor: int) -> list[tuple[int, int]]:
    """The sizes that pictures are brought to.

    Every width on the grid is paired with the greatest height on the grid that keeps the area within
    resolution squared, and the other way round.

    Args:
        resolution: side of the square picture that the base was trained for, in pixels.
        factor: pixels a latent cell; every side is a multiple of it.

    Returns:
        (width, height) pairs in pixels, by rising width; the square one is always among them.

    Raises:
        InputError: the resolution is no multiple of the factor.
    """
    if resolution < vae_scale_factor or resolution % vae_scale_factor:
        raise InputError(
            f"Argument `resolution` must be a multiple of the VAE's factor {vae_scale_factor}, but got {resolution}."
        )
    step = (
        SIDE_STEP
        if resolution >= 512
        else max(vae_scale_factor, round(SIDE_STEP / 512 * resolution / vae_scale_factor) * vae_scale_factor)
    )
    shortest = math.ceil(MIN_SIDE * resolution / step) * step
    longest = math.floor(MAX_SIDE * resolution / step) * step
    found = {(resolution, resolution)}
    for width in range(shortest, longest + 1, step):
        height = min(longest, resolution**2 // width // step * step)
        if height >= shortest:
            found |= {(width, height), (height, width)}
    return sorted(found)


def nearest_bucket(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The bucket whose aspect ratio is nearest to a picture's, in ratio; the larger of two equally near."""
    ratio = math.log(width / height)
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - ratio), -size[0] * size[1]))
