"""A small picture of what an adapter drew, for lists of runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris.terms import PROMPT_TYPES

ROW_ORDER = ("references", *sorted(PROMPT_TYPES, key=lambda name: name != "trigger"))


def contact_sheet(
    references: Sequence[Path],
    drawings: Mapping[str, Sequence[Mapping[str, Any]]],
    out: Path,
    columns: int = 10,
) -> Path:
    """One row of references, then one of each prompt type, as a PNG.

    Args:
        references: files of the dataset's pictures.
        drawings: prompt type -> ``{"image": path}`` records.
        out: the file to write.
        columns: pictures a row.
    """
    from PIL import Image

    from lycoris.data.images import read_image

    rows = {
        "references": list(references),
        **{kind: [d["image"] for d in some] for kind, some in drawings.items()},
    }
    shown = [rows[kind][:columns] for kind in ROW_ORDER if rows.get(kind)]
    side, gap = 128, 4
    sheet = Image.new("RGB", (columns * (side + gap) + gap, len(shown) * (side + gap) + gap), "white")
    for row, files in enumerate(shown):
        for column, file in enumerate(files):
            picture = read_image(Path(file))
            small = max(picture.size) < side
            picture = picture.resize(
                _fit_size(picture.size, side), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
            )
            sheet.paste(picture, (gap + column * (side + gap), gap + row * (side + gap)))
    aside = out.with_name(f".{os.getpid()}-{out.name}")
    sheet.save(aside)
    os.replace(aside, out)  # another run may be handing the same one on
    return out


def _fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
