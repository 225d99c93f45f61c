"""Images as data URLs: each once, small ones pixel by pixel where the budget allows, large ones as thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lycoris.data.image_opening import open_image
from lycoris.data.images import read_image
from lycoris.errors import InputError

MAX_EXACT_SIDE = 128
"""Images up to this side, in pixels, are shown pixel by pixel and never resized."""
THUMBNAIL_SIDE = 512
"""The longer side of a thumbnail in pixels, unless there are very many."""
SIZE_BUDGET = 11_500_000
"""The bytes of all images of a page together; as text they take a third more."""
PROBE_IMAGES = 32
"""Evenly chosen images from which the size of all is estimated."""


@dataclass(frozen=True)
class ImageEncoding:
    """A way to encode small images; the first whose images fit the budget is used."""

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
    """The images of one page, numbered in the order they were added, identical ones once.

    Images stay compressed until :meth:`encode`, so that thousands need little memory. ``unreadable`` has a message for
    each file that could not be read.

    Args:
        side: the longer side of a thumbnail in pixels, at most.
        budget: the bytes of all images together.
        resize_small: whether small images are also resized to `side`.
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
        """The number of an image, or None when there is none or it cannot be read.

        Args:
            path: an image file; None for an image that was not generated.
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
        """Every image as (data URL, width, height), in the order of the numbers."""
        # A base generates images of one size, so beside large images small ones are few.
        small = _encode_within(list(self._small.values()), self._budget // 4 if self._large else self._budget)
        large = _shrink_thumbnails(list(self._large.values()), self._budget - sum(len(code) for _, code, _ in small))
        encoded = {**dict(zip(self._small, small, strict=True)), **dict(zip(self._large, large, strict=True))}
        return [
            (f"data:image/{kind};base64,{base64.b64encode(code).decode('ascii')}", *size)
            for kind, code, size in (encoded[number] for number in range(len(encoded)))
        ]


ImageData = tuple[str, bytes, tuple[int, int]]


def _encode_within(images: list[bytes], budget: int) -> list[ImageData]:
    """Small images in the first encoding that fits the budget, or in the last."""
    probe = images[:: max(1, len(images) // PROBE_IMAGES)]
    share = budget * len(probe) / max(1, len(images))
    for encoding in ENCODINGS[:-1]:
        if sum(len(_encode_image(code, encoding)[1]) for code in probe) <= share:
            encoded = [_encode_image(code, encoding) for code in images]
            if sum(len(code) for _, code, _ in encoded) <= budget:
                return encoded
    return [_encode_image(code, ENCODINGS[-1]) for code in images]


def _encode_image(code: bytes, encoding: ImageEncoding) -> ImageData:
    file = io.BytesIO()
    with open_image(code) as image:
        encoding.save(image, file)
        return encoding.format, file.getvalue(), image.size


def _encode_thumbnail(image: Image.Image, quality: int = 82) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=1)
    return file.getvalue()


def _shrink_thumbnails(images: list[bytes], budget: int) -> list[ImageData]:
    """Thumbnails, made smaller and then coarser until they fit the budget."""
    total = sum(map(len, images))
    if total <= budget:
        return [("webp", code, _size(code)) for code in images]
    encoded: list[ImageData] = []
    for quality in (82, 50, 20):
        encoded = [_shrink_thumbnail(code, math.sqrt(max(0, budget) / total), quality) for code in images]
        if sum(len(code) for _, code, _ in encoded) <= budget:
            break
    return encoded


def _shrink_thumbnail(code: bytes, shrink: float, quality: int) -> ImageData:
    with open_image(code) as image:
        side = max(MAX_EXACT_SIDE + 1, round(max(image.size) * shrink))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return "webp", _encode_thumbnail(image, quality), image.size


def _size(code: bytes) -> tuple[int, int]:
    with open_image(code) as image:
        return image.size
