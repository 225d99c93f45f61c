"""Training images as latents, computed once and cached by content, or computed on each access."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import source_hash
from lycoris.data.images import IMAGE_SOURCES, InvalidImageError, read_image
from lycoris.errors import InputError
from lycoris.training.config import MaskSource, OnInvalidImage
from lycoris.training.data.buckets import bucket_sizes
from lycoris.training.data.cropping import resize_and_crop
from lycoris.training.data.header_scan import HeaderScan
from lycoris.training.data.loss_masks import LossMasks
from lycoris.training.data.tensor_cache import TensorCache, content_key

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base

logger = logging.getLogger(__name__)

MAX_LOST_SHARE = 0.1
"""Share of a side that a crop may take without a warning."""
MAX_NAMED_CROPS = 5
MAX_BATCH_IMAGES, MAX_BATCH_PIXELS = 16, 2**20
"""Images, and pixels, that a GPU encodes at a time; a CPU encodes one, so that results do not depend on the others."""
LATENT_SOURCES = (*IMAGE_SOURCES, "bases", "training/data/image_dataset.py", "training/data/cropping.py")


@dataclass(frozen=True, slots=True)
class Example:
    """An image with its caption.

    Attributes:
        image: the file.
        caption: tags separated by commas, or a sentence.
        repeats: times that it occurs in an epoch.
        prior: whether it shows the class in general and not the concept, to preserve what the base knows of the class
            (DreamBooth's prior preservation).
        alternatives: several captions, one of which each step draws; empty if `caption` is the only one.
    """

    image: Path
    caption: str
    repeats: int = 1
    prior: bool = False
    alternatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError(f"Argument `repeats` of `{self.image}` must be at least 1, but got {self.repeats}.")

    @property
    def captions(self) -> tuple[str, ...]:
        """All its captions."""
        return self.alternatives or (self.caption,)


class ImageDataset:
    """Latents of the training images, each in the bucket nearest to its aspect ratio.

    Args:
        base: encodes the images and determines the buckets.
        paths: the images.
        horizontal_flip: whether to cache the latents of the mirrored images too.
        cache_folder: folder for latents, shared by all runs; None keeps them in memory.
        use_cache: whether to cache latents; otherwise an image is read and encoded on each access.
        mask: source of the loss masks: ``"file"`` for ``name.mask.png`` beside an image, ``"alpha"`` for its own
            transparency; an image without one counts everywhere. None for no masks.
        on_invalid_image: ``"skip"`` skips an invalid image, ``"stop"`` raises its error.

    Attributes:
        valid_indices: positions in `paths` of the images that are used; a row is a position in this sequence.
        skipped: path to reason, of the others.
        sizes: each row's bucket, as (width, height) in pixels.
        upscaled_count: number of images that are smaller than their bucket.
        cropped_images: path to the share of a side that is lost, of images that lose more than `MAX_LOST_SHARE`; they
            are logged.

    Raises:
        InputError: a file is absent, no image is valid, or `mask` is set and no image has a mask.
        InvalidImageError: an image is invalid, and `on_invalid_image` is ``"stop"``.
    """

    def __init__(
        self,
        base: Base,
        paths: Sequence[Path],
        *,
        horizontal_flip: bool = False,
        cache_folder: Path | None = None,
        use_cache: bool = True,
        mask: MaskSource | None = None,
        on_invalid_image: OnInvalidImage = "skip",
    ) -> None:
        self._base, self._paths, self._use_cache = base, paths, use_cache
        self._flips = (False, True) if horizontal_flip else (False,)
        self._cache = TensorCache(cache_folder)
        self._masks = None if mask is None else LossMasks(mask, base.vae_scale_factor, self._cache)
        self._scan = HeaderScan(paths, bucket_sizes(base.resolution, base.size_multiple), on_invalid_image)
        self._file_digests: list[str] = []
        self._mask_keys: list[str | None] = []
        invalid = self._fill_cache(paths, stop=on_invalid_image == "stop")
        for row in reversed(invalid):
            self._scan.drop(row, paths[self._scan.valid_indices[row]], invalid[row])
            del self._file_digests[row], self._mask_keys[row]
        self.valid_indices, self.skipped = self._scan.valid_indices, self._scan.skipped
        if not self.valid_indices:
            reason = next(iter(self.skipped.values()), "There are none.")
            raise InputError(f"None of the {len(paths)} images can be used. {reason}")
        if mask is not None and not any(self._mask_keys):
            count = len(self.valid_indices)
            raise InputError(f"Setting `mask` is `{mask}`, but none of the {count} images has a mask.")
        self.sizes = [self._scan.crop(row).target_size for row in range(len(self.valid_indices))]
        crops = [self._scan.crop(row) for row in range(len(self.valid_indices))]
        self.upscaled_count = sum(crop.scale > 1 for crop in crops)
        self.cropped_images = {
            str(paths[position]): round(crop.lost_share, 3)
            for position, crop in zip(self.valid_indices, crops, strict=True)
            if crop.lost_share > MAX_LOST_SHARE
        }
        _log_crops(self.cropped_images, len(crops))

    @property
    def bucket_counts(self) -> dict[str, int]:
        """Number of images in each bucket, by its size as ``"64x48"``."""
        return {f"{width}x{height}": count for (width, height), count in sorted(Counter(self.sizes).items())}

    def stack_latents(
        self, rows: Sequence[int], flipped: Sequence[bool]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Stack the latents of images of one size, on the base's device."""
        if not self._use_cache:
            return self._encode_images([self._load_image(row) for row in rows], flipped)
        keys = [self._cache_key(row, mirror) for row, mirror in zip(rows, flipped, strict=True)]
        return torch.stack([self._cache.read(key)["latent"] for key in keys]).to(self._base.device)

    def stack_masks(self, rows: Sequence[int], flipped: Sequence[bool]) -> Float[Tensor, "batch rows columns"] | None:
        """Stack the loss masks of images of one size, in [0, 1] per latent cell; None without masks."""
        if self._masks is None:
            return None
        keys = [self._mask_keys[row] for row in rows]
        return self._masks.stack(keys, self._scan.crop(rows[0]), flipped).to(self._base.device)

    def size_conditioning(self, rows: Sequence[int]) -> Float[Tensor, "batch 6"]:
        """Size conditioning of images; see `ResizeCrop.size_conditioning`."""
        values = [self._scan.crop(row).size_conditioning for row in rows]
        return torch.tensor(values, dtype=torch.float32, device=self._base.device)

    def _fill_cache(self, paths: Sequence[Path], *, stop: bool) -> dict[int, str]:
        """Cache latents and masks of every image of the scan; return the reasons of invalid ones by row."""
        invalid: dict[int, str] = {}
        waiting: dict[tuple[int, int], list[tuple[int, Image.Image]]] = {}
        for row, position in enumerate(self._scan.valid_indices):
            path, crop = paths[position], self._scan.crop(row)
            self._file_digests.append(file_digest(path))
            self._mask_keys.append(None)
            try:
                if self._masks is not None:
                    self._mask_keys[row] = self._masks.cache_mask(path, crop)
                if self._use_cache and all(self._cache_key(row, mirror) in self._cache for mirror in self._flips):
                    continue
                image = self._load_image(row)
            except InvalidImageError as error:
                if stop:
                    raise
                invalid[row] = str(error)
                continue
            if not self._use_cache:
                continue
            group = waiting.setdefault(crop.target_size, [])
            group.append((row, image))
            if len(group) == self._max_batch_size(crop.target_size):
                self._encode_group(waiting.pop(crop.target_size))
        for group in waiting.values():
            self._encode_group(group)
        return invalid

    def _max_batch_size(self, size: tuple[int, int]) -> int:
        if self._base.device.type == "cpu":
            return 1
        return max(1, min(MAX_BATCH_IMAGES, MAX_BATCH_PIXELS // (size[0] * size[1])))

    def _encode_group(self, group: list[tuple[int, Image.Image]]) -> None:
        for mirror in self._flips:
            latents = self._encode_images([image for _, image in group], [mirror] * len(group))
            for (row, _), latent in zip(group, latents, strict=True):
                self._cache.write(self._cache_key(row, mirror), {"latent": latent})

    def _load_image(self, row: int) -> Image.Image:
        """Read an image and fit it to its bucket.

        Raises:
            InvalidImageError: it cannot be read, or its size is not the one in its header.
        """
        path, crop = self._paths[self._scan.valid_indices[row]], self._scan.crop(row)
        image = read_image(path)
        if image.size != crop.original_size:
            raise InvalidImageError(f"Image `{path}` does not have the size that its header states.")
        return resize_and_crop(image, crop.target_size)

    def _encode_images(
        self, images: Sequence[Image.Image], mirrored: Sequence[bool]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Encode images of one size, on the base's device; no result depends on which are encoded together."""
        tensors = map(_to_tensor, images)
        pixels = torch.stack([t.flip(-1) if mirror else t for t, mirror in zip(tensors, mirrored, strict=True)])
        batches = pixels.split(self._max_batch_size(images[0].size))
        return torch.cat([self._base.encode_images(batch) for batch in batches])

    def _cache_key(self, row: int, mirror: bool) -> str:
        size = self._scan.crop(row).target_size
        base = self._base.digest, self._base.dtype, source_hash(*LATENT_SOURCES)
        return content_key("latent", *base, size, mirror, self._file_digests[row])


def _log_crops(cropped: Mapping[str, float], count: int) -> None:
    if cropped:
        largest = sorted(cropped, key=lambda path: (-cropped[path], path))[:MAX_NAMED_CROPS]
        named = ", ".join(f"`{path}` ({cropped[path]:.0%})" for path in largest)
        logger.warning(
            "The crop to a bucket takes more than %.0f %% of a side from %d of %d images: %s%s.",
            100 * MAX_LOST_SHARE, len(cropped), count, named, " ..." if len(cropped) > len(largest) else "",
        )  # fmt: skip


def _to_tensor(image: Image.Image) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
