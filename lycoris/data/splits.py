"""Held-out images: the split of images into those to train on and those to validate with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError


def split_held_out(files: Sequence[Path], hold_out: float, name: str = "") -> tuple[list[int], list[int]]:
    """Split images into those to train on and those to hold out.

    The split depends on the images' bytes alone, so an image stays on its side while others are added or removed; an
    added one moves at most one other.

    Args:
        files: the images.
        hold_out: how many to hold out: a number from 1 on; below 1 a fraction of them, rounded up; 0 for none.
        name: name of the concept, for the error message.

    Returns:
        Row numbers of both, ascending.

    Raises:
        InputError: no image would be left to train on.
    """
    count = math.ceil(hold_out * len(files)) if hold_out < 1 else int(hold_out)
    if count >= len(files):
        raise InputError(
            f"Argument `hold_out` must leave an image to train on, but got {hold_out:g} for {len(files)} images"
            + (f" of `{name}`." if name else ".")
        )
    if count == 0:
        return list(range(len(files))), []
    order = sorted(range(len(files)), key=lambda row: (file_digest(Path(files[row])), row))
    return sorted(order[count:]), sorted(order[:count])
