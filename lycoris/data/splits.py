"""Held-out images: the split of images into those to train on and those to validate with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError


def split_held_out(files: Sequence[Path], hold_out: float, name: str = "") -> tuple[list[int], list[int]]:
    """Split images into those to train on and those to hold out; files with the same bytes stay on one side.

    The split depends on the images' bytes alone, so an image stays on its side while others are added or removed; an
    added one moves at most one other (with its duplicates).

    Args:
        files: the images.
        hold_out: how many to hold out: a number from 1 on; below 1 a fraction of them, rounded up; 0 for none. The
            last one's duplicates are held out as well or, if they are all that is left, none of them.
        name: name of the concept, for the error message.

    Returns:
        Row numbers of both, ascending.

    Raises:
        InputError: no image would be left to train on, or none held out.
    """
    order, count = _order(files, hold_out, name)
    digests = [digest for digest, _ in order]
    if count > 0:
        last = digests[count - 1]
        end = len(digests) - digests[::-1].index(last)
        count = end if end < len(order) else digests.index(last)
        if count == 0:
            raise InputError(
                f"Argument `hold_out` is {hold_out:g}, but all {len(order)} images"
                + (f" of `{name}`" if name else "")
                + " have the same bytes, so none can be held out."
            )
    rows = [row for _, row in order]
    return sorted(rows[count:]), sorted(rows[:count])


def choose_rows(files: Sequence[Path], count: int, name: str = "") -> list[int]:
    """Choose images by their bytes alone, those first that `split_held_out` holds out last.

    Args:
        files: the images.
        count: how many, at least 1.
        name: name of the concept, for the error message.

    Returns:
        Row numbers, ascending; those of a smaller count are among those of a larger one.

    Raises:
        InputError: there are fewer images.
    """
    order, start = _order(files, len(files) - count, name)
    return sorted(row for _, row in order[start:])


def _order(files: Sequence[Path], hold_out: float, name: str) -> tuple[list[tuple[str, int]], int]:
    """Digest and row of each image by digest, and how many of the first are to be held out."""
    count = held_out_count(len(files), hold_out, name)
    digests = (file_digest(Path(file)) if count else "" for file in files)
    return sorted((digest, row) for row, digest in enumerate(digests)), count


def held_out_count(total: int, hold_out: float, name: str = "") -> int:
    """Return how many of a number of images are held out.

    Args:
        total: the number of images.
        hold_out: as for `split_held_out`.
        name: name of the concept, for the error message.

    Raises:
        InputError: no image would be left to train on.
    """
    count = math.ceil(hold_out * total) if hold_out < 1 else int(hold_out)
    if count >= total:
        raise InputError(
            f"Argument `hold_out` must leave an image to train on, but got {hold_out:g} and "
            f"{f'`{name}`' if name else 'the concept'} has {total}."
        )
    return count
