"""Duplicates among images: files with the same bytes, and images that look the same at another size or encoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn

from lycoris.cache.integrity import file_digest

GREY_SIDE, HASH_SIDE = 32, 16
"""A hash has a bit for each of the 16 x 16 lowest frequencies of the image at 32 x 32 pixels."""
MAX_DIFFERENT_BITS = 8
"""Of 256; scaling, other encodings and small changes of brightness stay below it."""
COLOR_SIDE, MAX_COLOR_DIFFERENCE = 4, 12
"""Mean colors of 4 x 4 parts, of 255 levels, tell apart what has no edges."""
MAX_NAMED_GROUPS = 5


def perceptual_hash(image: Image.Image) -> str:
    """Describe what an image looks like, in hexadecimal.

    The first 64 digits are the perceptual hash ("pHash") of Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", 2010: which low frequencies of the cosine transform exceed their median. The others are mean
    colors.

    Args:
        image: of mode ``"RGB"``.
    """
    grey = image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX)
    frequencies = dctn(np.asarray(grey).astype(np.float64), norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel().round(6)
    bits = np.packbits(frequencies > np.median(frequencies[1:]))
    colors = np.asarray(image.resize((COLOR_SIDE, COLOR_SIDE), Image.Resampling.BOX))
    return (bits.tobytes() + colors.tobytes()).hex()


def equal_files(files: Iterable[Path]) -> list[list[Path]]:
    """Groups of at least two files with the same bytes; only files of equal size are read."""
    by_size, groups = defaultdict(list), defaultdict(list)
    for file in files:
        by_size[file.stat().st_size].append(file)
    for same_size in by_size.values():
        for file in same_size if len(same_size) > 1 else ():
            groups[file_digest(file)].append(file)
    return [group for group in groups.values() if len(group) > 1]


def similar_images(hashes: Mapping[Path, str]) -> list[list[Path]]:
    """Groups of at least two images whose hashes are close, directly or through others of the group.

    Args:
        hashes: image -> its `perceptual_hash`.
    """
    files, size = list(hashes), HASH_SIDE**2 // 8
    content = bytes.fromhex("".join(hashes.values()))
    codes = np.frombuffer(content, dtype=np.uint8).reshape(len(files), size + 3 * COLOR_SIDE**2)
    bits, colors = codes[:, :size], codes[:, size:].astype(np.int16)
    group_of = list(range(len(files)))
    for row in range(len(files)):
        different = np.bitwise_count(bits[row + 1 :] ^ bits[row]).sum(1)
        color_difference = np.abs(colors[row + 1 :] - colors[row]).max(1, initial=0)
        close = (different <= MAX_DIFFERENT_BITS) & (color_difference <= MAX_COLOR_DIFFERENCE)
        for other in np.flatnonzero(close) + row + 1:
            old, new = group_of[other], group_of[row]
            group_of = [new if group == old else group for group in group_of]
    groups = defaultdict(list)
    for file, group in zip(files, group_of, strict=True):
        groups[group].append(file)
    return [group for group in groups.values() if len(group) > 1]


def duplicate_notes(name: str, hashes: Mapping[Path, str]) -> list[str]:
    """Name the duplicates of a concept: what has the same bytes, and what else looks the same.

    Args:
        name: of the concept.
        hashes: image -> its `perceptual_hash`.
    """
    equal = equal_files(hashes)
    repeated = {file for group in equal for file in group[1:]}
    similar = similar_images({file: code for file, code in hashes.items() if file not in repeated})
    notes = []
    if equal:
        notes.append(
            f"`{name}` has files with the same bytes, which count as several images: {_named(equal)}. They are held "
            "out together, if at all."
        )
    if similar:
        notes.append(f"`{name}` has images that look the same: {_named(similar)}.")
    return notes


def _named(groups: Sequence[Sequence[Path]]) -> str:
    named = "; ".join(" = ".join(f"`{file.name}`" for file in group) for group in groups[:MAX_NAMED_GROUPS])
    more = len(groups) - MAX_NAMED_GROUPS
    return f"{named}; and {more} more groups" if more > 0 else named
