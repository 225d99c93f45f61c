"""Pictures as data addresses: each once, small ones exact, large ones as thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from lycoris.errors import InputError
from lycoris.images import read_image

SMALL = 128
"""A picture of at most so many pixels a side is shown pixel by pixel, so it is never resized."""
EXACT = 5_000_000
"""So many pixels of small pictures are kept lossless; above, JPEG at quality 95 without chroma subsampling."""
LARGE = 512
"""The longer side of a thumbnail, in pixels, unless there are very many."""
THUMBNAILS = 160_000_000
"""So many pixels of thumbnails are kept in all: about 25 MB."""


class Album:
    """The pictures of one report, numbered in the order they came, identical ones once.

    ``unread`` names the files that could not be read, with the reason.

    Args:
        side: the longer side of a thumbnail, in pixels, at most.
        close: whether small pictures, too, are brought to `side`, and to a third of the bytes where they are many.
    """

    def __init__(self, side: int = LARGE, *, close: bool = False) -> None:
        self._side = side
        self._small = min(SMALL, side) if close else SMALL
        self._close = close
        self.unread: list[str] = []
        self._by_path: dict[str, int | None] = {}
        self._by_digest: dict[bytes, int] = {}
        self._images: list[Image.Image] = []

    def add(self, path: str | Path | None) -> int | None:
        """The number of a picture, or None when there is none or it cannot be read.

        Args:
            path: a picture file; None stands for a picture that was not drawn.
        """
        if path is None:
            return None
        key = str(path)
        if key not in self._by_path:
            try:
                self._by_path[key] = self._number(Path(path))
            except (InputError, OSError) as error:
                self.unread.append(str(error))
                self._by_path[key] = None
        return self._by_path[key]

    def _number(self, path: Path) -> int:
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in self._by_digest:
            image = read_image(path)
            if max(image.size) > self._small:
                image.thumbnail((self._side, self._side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            self._images.append(image)
            self._by_digest[digest] = len(self._images) - 1
        return self._by_digest[digest]

    def encode(self) -> list[tuple[str, int, int]]:
        """Every picture as (data address, width, height), in the order of the numbers."""
        small = sum(math.prod(image.size) for image in self._images if max(image.size) <= SMALL)
        large = sum(math.prod(image.size) for image in self._images) - small
        shrink = min(1.0, math.sqrt(THUMBNAILS / large)) if large else 1.0
        how = partial(_address, exact=small <= EXACT, close=self._close, shrink=shrink)
        with ThreadPoolExecutor() as pool:
            return list(pool.map(how, self._images))


def _address(image: Image.Image, *, exact: bool, close: bool, shrink: float) -> tuple[str, int, int]:
    file = io.BytesIO()
    if max(image.size) > SMALL:
        if shrink < 1.0:
            side = max(SMALL, round(max(image.size) * shrink))
            image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        kind = "webp"
        image.save(file, "WEBP", quality=82, method=1)
    elif exact:
        kind = "webp"
        image.save(file, "WEBP", lossless=True, quality=50, method=1)
    elif close:
        kind = "webp"
        image.save(file, "WEBP", quality=82, method=0)
    else:
        kind = "jpeg"
        image.save(file, "JPEG", quality=95, subsampling=0, optimize=True)
    code = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{code}", *image.size
