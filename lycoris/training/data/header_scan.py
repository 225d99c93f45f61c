"""What the headers of many pictures tell, at a few bytes a picture."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from lycoris.data.images import InvalidImageError, read_size
from lycoris.training.config import OnInvalidImage
from lycoris.training.data.buckets import nearest_bucket
from lycoris.training.data.cropping import ResizeCrop


class HeaderScan:
    """Upright size and bucket of every picture whose header can be read.

    Args:
        paths: of the pictures; gone through once.
        buckets: (width, height) of each bucket.
        on_invalid_image: ``"skip"`` goes on without a bad picture, ``"stop"`` raises its error.

    Attributes:
        kept: positions of the pictures that can be used; those of all other attributes are the same as its own.
        bad: path to what is wrong with it, of those that cannot.

    Raises:
        InputError: a file is absent or cannot be opened.
        BadPicture: a picture is bad, and this is to stop.
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
        places = {bucket: place for place, bucket in enumerate(self._buckets)}
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
                nearest[size] = places[nearest_bucket(*size, self._buckets)]
            self.valid_indices.append(position)
            self._sides.extend(size)
            self._bucket_indices.append(nearest[size])

    def __len__(self) -> int:
        return len(self.valid_indices)

    def crop(self, row: int) -> ResizeCrop:
        """How the picture comes to its bucket's size."""
        return ResizeCrop((self._sides[2 * row], self._sides[2 * row + 1]), self._buckets[self._bucket_indices[row]])

    def drop(self, row: int, path: Path, reason: str) -> None:
        """Set a picture aside whose pixels turned out bad."""
        self.skipped[str(path)] = reason
        del self.valid_indices[row], self._sides[2 * row : 2 * row + 2], self._bucket_indices[row]
