"""A scan of image headers: size and bucket of many images, at a few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from lycoris.data.images import InvalidImageError, read_size
from lycoris.training.config import OnInvalidImage
from lycoris.training.data.buckets import nearest_bucket
from lycoris.training.data.cropping import ResizeCrop


class HeaderScan:
    """Upright size and bucket of every image whose header is readable.

    Args:
        paths: the images; iterated once.
        buckets: (width, height) of each bucket.
        on_invalid_image: ``"skip"`` skips an invalid image, ``"stop"`` raises its error.

    Attributes:
        valid_indices: positions of the valid images; a row of the scan is a position in this array.
        skipped: path to reason, of the other images.

    Raises:
        InputError: a file is absent or cannot be opened.
        InvalidImageError: an image is invalid, and `on_invalid_image` is ``"stop"``.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        buckets: Sequence[tuple[int, int]],
        on_invalid_image: OnInvalidImage = "skip",
    ) -> None:
        self.valid_indices = array("L")
        self.skipped: dict[str, str] = {}
        self._buckets = list(buckets)
        self._sides = array("I")
        self._bucket_indices = array("H")
        indices = {bucket: index for index, bucket in enumerate(self._buckets)}
        nearest: dict[tuple[int, int], int] = {}
        for position, path in enumerate(paths):
            try:
                size = read_size(path)
            except InvalidImageError as error:
                if on_invalid_image == "stop":
                    raise
                self.skipped[str(path)] = str(error)
                continue
            if size not in nearest:
                if len(nearest) == 4096:
                    nearest.clear()
                nearest[size] = indices[nearest_bucket(*size, self._buckets)]
            self.valid_indices.append(position)
            self._sides.extend(size)
            self._bucket_indices.append(nearest[size])

    def __len__(self) -> int:
        return len(self.valid_indices)

    def crop(self, row: int) -> ResizeCrop:
        """How an image is brought to its bucket's size."""
        return ResizeCrop((self._sides[2 * row], self._sides[2 * row + 1]), self._buckets[self._bucket_indices[row]])

    def drop(self, row: int, path: Path, reason: str) -> None:
        """Skip an image whose pixels turn out to be invalid."""
        self.skipped[str(path)] = reason
        del self.valid_indices[row], self._sides[2 * row : 2 * row + 2], self._bucket_indices[row]
