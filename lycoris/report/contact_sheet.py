"""An overview of an adapter's images, for lists of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from lycoris.cache.atomic import atomic_write
from lycoris.data.images import read_image
from lycoris.terms import PROMPT_TYPES

ROW_ORDER = ("references", *sorted(PROMPT_TYPES, key=lambda name: name != "trigger"))
CELL_SIDE, GAP = 128, 4
"""Pixels."""


def contact_sheet(
    references: Sequence[Path],
    generated: Mapping[str, Sequence[Path]],
    out: Path,
    columns: int = 10,
) -> Path:
    """Write a PNG with one row of references, then one of each prompt type.

    Args:
        references: files of the dataset's images.
        generated: prompt type -> files of generated images.
        out: the file to write.
        columns: images per row.
    """
    files = {"references": references, **generated}
    rows = [files[kind][:columns] for kind in ROW_ORDER if files.get(kind)]
    pitch = CELL_SIDE + GAP
    sheet = Image.new("RGB", (columns * pitch + GAP, len(rows) * pitch + GAP), "white")
    for row, paths in enumerate(rows):
        for column, path in enumerate(paths):
            image = read_image(path)
            resampling = Image.Resampling.NEAREST if max(image.size) < CELL_SIDE else Image.Resampling.LANCZOS
            sheet.paste(image.resize(_fit_size(image.size), resampling), (GAP + column * pitch, GAP + row * pitch))
    with atomic_write(out) as temporary:
        sheet.save(temporary)
    return out


def _fit_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = CELL_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
