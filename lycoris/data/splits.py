"""Pictures that are kept from training, so that what was learned can be held against pictures never seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError


def split_held_out(files: Sequence[Path], hold_out: float, name: str = "") -> tuple[list[int], list[int]]:
    """Which pictures are trained on, and which are kept from it.

    It follows from the pictures' bytes alone, so that a picture stays on its side while others come and go; one
    that is added moves one other at most.

    Args:
        files: the pictures.
        share: how many to keep, from 1 on; below 1 what part of them, rounded up; 0 for none.
        name: of what they show, for the error.

    Returns:
        Rows of both, ascending.

    Raises:
        InputError: nothing would be left to train on.
    """
    count = math.ceil(hold_out * len(files)) if hold_out < 1 else int(hold_out)
    if count >= len(files):
        raise InputError(
            f"Argument `share` must leave a picture to train on, but got {hold_out:g} for {len(files)} pictures"
            + (f" of `{name}`." if name else ".")
        )
    if count == 0:
        return list(range(len(files))), []
    order = sorted(range(len(files)), key=lambda row: (file_digest(Path(files[row])), row))
    return sorted(order[count:]), sorted(order[:count])
