"""Pictures as data addresses: each once, small ones exact where there is room, large ones as thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lycoris.data.images import read_image
from lycoris.errors import InputError

MAX_EXACT_SIDE = 128
"""A picture of at most so many pixels a side is shown pixel by pixel, so it is never resized."""
THUMBNAIL_SIDE = 512
"""The longer side of a thumbnail, in pixels, unless there are very many."""
SIZE_BUDGET = 11_500_000
"""So many bytes of pictures are kept in all; written as text they are a third more."""
PROBE_IMAGES = 32
"""So many pictures, evenly chosen, tell how large all would be."""


@dataclass(frozen=True)
class ImageEncoding:
    """A way to write small pictures; the first that leaves room for all is taken."""

    format: str
    save: Callable[[Image.Image, io.BytesIO], None]


ENCODINGS = (
    ImageEncoding("webp", lambda image, file: image.save(file, "WEBP", lossless=True, quality=50, method=1)),
    ImageEncoding("jpeg", lambda image, file: image.save(file, "JPEG", quality=95, subsampling=0, optimize=True)),
    ImageEncoding("webp", lambda image, file: image.save(file, "WEBP", quality=85, method=2)),
    ImageEncoding("webp", lambda image, file: image.save(file, "WEBP", quality=60, method=2)),
    ImageEncoding("webp", lambda image, file: image.save(file, "WEBP", quality=30, method=2)),
)


class ImageStore:
    """The pictures of one page, numbered in the order they came, identical ones once.

    They are kept compressed until they are asked for, so that thousands take little memory. ``unread`` names the files
    that could not be read, with the reason.

    Args:
        side: the longer side of a thumbnail, in pixels, at most.
        room: bytes that all pictures may take together.
        close: whether small pictures, too, are brought to `side`.
    """

    def __init__(self, side: int = THUMBNAIL_SIDE, budget: int = SIZE_BUDGET, *, resize_small: bool = False) -> None:
        self._side, self._budget = side, budget
        self._exact_side = min(MAX_EXACT_SIDE, side) if resize_small else MAX_EXACT_SIDE
        self.unreadable: list[str] = []
        self._by_path: dict[str, int | None] = {}
        self._by_digest: dict[bytes, int] = {}
        self._small: dict[int, bytes] = {}
        self._large: dict[int, bytes] = {}

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
                self._by_path[key] = self._number_of(Path(path))
            except (InputError, OSError) as error:
                self.unreadable.append(str(error))
                self._by_path[key] = None
        return self._by_path[key]

    def _number_of(self, path: Path) -> int:
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in self._by_digest:
            image, file = read_image(path), io.BytesIO()
            number = len(self._by_digest)
            if max(image.size) <= self._exact_side:
                image.save(file, "PNG", compress_level=1)
                self._small[number] = file.getvalue()
            else:
                image.thumbnail((self._side, self._side), Image.Resampling.LANCZOS, reducing_gap=2.0)
                self._large[number] = _encode_thumbnail(image)
            self._by_digest[digest] = number
        return self._by_digest[digest]

    def encode(self) -> list[tuple[str, int, int]]:
        """Every picture as (data address, width, height), in the order of the numbers."""
        # Small pictures are of a base that draws small ones; beside large ones they are few.
        small = _encode_within(list(self._small.values()), self._budget // 4 if self._large else self._budget)
        large = _shrink_thumbnails(list(self._large.values()), self._budget - sum(len(code) for _, code, _ in small))
        found = {**dict(zip(self._small, small, strict=True)), **dict(zip(self._large, large, strict=True))}
        return [
            (f"data:image/{kind};base64,{base64.b64encode(code).decode('ascii')}", *size)
            for kind, code, size in (found[number] for number in range(len(found)))
        ]


ImageData = tuple[str, bytes, tuple[int, int]]


def _encode_within(pictures: list[bytes], budget: int) -> list[ImageData]:
    """Small pictures on the first rung that leaves room for them, or on the last."""
    probe = pictures[:: max(1, len(pictures) // PROBE_IMAGES)]
    share = budget * len(probe) / max(1, len(pictures))
    for rung in ENCODINGS[:-1]:
        if sum(len(_encode_image(code, rung)[1]) for code in probe) <= share:
            coded = [_encode_image(code, rung) for code in pictures]
            if sum(len(code) for _, code, _ in coded) <= budget:
                return coded
    return [_encode_image(code, ENCODINGS[-1]) for code in pictures]


def _encode_image(code: bytes, encoding: ImageEncoding) -> ImageData:
    image, file = Image.open(io.BytesIO(code)), io.BytesIO()
    encoding.save(image, file)
    return encoding.format, file.getvalue(), image.size


def _encode_thumbnail(image: Image.Image, quality: int = 82) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=1)
    return file.getvalue()


def _shrink_thumbnails(pictures: list[bytes], budget: int) -> list[ImageData]:
    """Thumbnails, made smaller and then coarser until there is room for them."""
    taken = sum(map(len, pictures))
    if taken <= budget:
        return [("webp", code, Image.open(io.BytesIO(code)).size) for code in pictures]
    found: list[ImageData] = []
    for quality in (82, 50, 20):
        found = [_shrink_thumbnail(code, math.sqrt(max(0, budget) / taken), quality) for code in pictures]
        if sum(len(code) for _, code, _ in found) <= budget:
            break
    return found


def _shrink_thumbnail(code: bytes, shrink: float, quality: int) -> ImageData:
    image = Image.open(io.BytesIO(code))
    side = max(MAX_EXACT_SIDE + 1, round(max(image.size) * shrink))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return "webp", _encode_thumbnail(image, quality), image.size
