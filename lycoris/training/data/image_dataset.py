"""Training pictures as latents, computed once and kept by what they depend on, or as they come up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import source_hash
from lycoris.data.images import InvalidImageError, read_image
from lycoris.errors import InputError
from lycoris.training.config import MaskSource, OnInvalidImage
from lycoris.training.data.buckets import bucket_sizes
from lycoris.training.data.cropping import resize_and_crop
from lycoris.training.data.header_scan import HeaderScan
from lycoris.training.data.latent_cache import TensorCache, content_key
from lycoris.training.data.loss_masks import LossMasks

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base

MAX_BATCH_IMAGES, MAX_BATCH_PIXELS = 16, 2**20
"""A GPU is given so many pictures, and about so many pixels, together; a CPU one, so that no result hangs on which."""
LATENT_SOURCES = ("data/images.py", "bases", "training/data/image_dataset.py", "training/data/cropping.py")


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and the words it goes with.

    Attributes:
        image: its file.
        caption: tags between commas, or a sentence.
        repeats: how often an epoch shows it.
        prior: whether it is of the class at large, to keep what the base knows of it, and not of the concept.
    """

    image: Path
    caption: str
    repeats: int = 1
    prior: bool = False

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError(f"Argument `repeats` of `{self.image}` must be at least 1, but got {self.repeats}.")


class ImageDataset:
    """Latents of the training pictures, each in the bucket nearest to its shape.

    Args:
        base: encodes them and sets resolution and factor.
        paths: of the pictures.
        flip: keep the mirrored pictures' latents too.
        cache: a folder for latents, shared by all runs; without one they are held in memory.
        cached: whether latents are kept at all, else a picture is read and encoded whenever it is asked for.
        mask: where the loss's weights come from: ``"file"`` is ``name.mask.png`` beside a picture, ``"alpha"``
            its own transparency; a picture that has none counts whole.
        on_invalid_image: ``"skip"`` goes on without a bad picture, ``"stop"`` raises its error.

    Attributes:
        kept: positions in `paths` of the pictures that are used; rows below count these.
        set_aside: path to what is wrong with it, of the others.
        sizes: each row's bucket, as (width, height) in pixels.
        upscaled: how many pictures are smaller than their bucket.

    Raises:
        InputError: a file is absent, no picture can be used, or none has a mask that should.
        BadPicture: a picture is bad, and this is to stop.
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
        self._base, self._flips, self._cache = (
            base,
            (False, True) if horizontal_flip else (False,),
            TensorCache(cache_folder),
        )
        self._use_cache, self._paths = use_cache, paths
        self._masks = None if mask is None else LossMasks(mask, base.vae_scale_factor, self._cache)
        self._scan = HeaderScan(paths, bucket_sizes(base.resolution, base.vae_scale_factor), on_invalid_image)
        self._file_digests: list[str] = []
        self._mask_keys: list[str | None] = []
        bad = self._fill_cache(paths, stop=on_invalid_image == "stop")
        for row in reversed(bad):
            self._scan.drop(row, paths[self._scan.valid_indices[row]], bad[row])
            del self._file_digests[row], self._mask_keys[row]
        self.valid_indices, self.skipped = self._scan.valid_indices, self._scan.skipped
        if not self.valid_indices:
            reason = next(iter(self.skipped.values()), "There are none.")
            raise InputError(f"None of the {len(paths)} pictures can be used. {reason}")
        if mask is not None and not any(self._mask_keys):
            raise InputError(
                f"Setting `mask` is `{mask}`, but none of the {len(self.valid_indices)} pictures has a mask."
            )
        self.sizes = [self._scan.crop(row).target_size for row in range(len(self.valid_indices))]
        self.upscaled_count = sum(self._scan.crop(row).scale > 1 for row in range(len(self.valid_indices)))

    @property
    def bucket_counts(self) -> dict[str, int]:
        """Pictures in each bucket, by its size written as "64x48"."""
        return {f"{width}x{height}": count for (width, height), count in sorted(Counter(self.sizes).items())}

    def stack_latents(
        self, rows: Sequence[int], flipped: Sequence[bool]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Latents of some pictures, all of one size, on the base's device."""
        if not self._use_cache:
            return self._encode_images([self._load_image(row) for row in rows], flipped)
        keys = [self._cache_key(row, mirror) for row, mirror in zip(rows, flipped, strict=True)]
        return torch.stack([self._cache.read(key)["latent"] for key in keys]).to(self._base.device)

    def stack_masks(self, rows: Sequence[int], flipped: Sequence[bool]) -> Float[Tensor, "batch rows columns"] | None:
        """Weights of the loss in [0, 1] from place to place; None when no masks are wanted."""
        if self._masks is None:
            return None
        keys = [self._mask_keys[row] for row in rows]
        return self._masks.stack(keys, self._scan.crop(rows[0]), flipped).to(self._base.device)

    def size_conditioning(self, rows: Sequence[int]) -> Float[Tensor, "batch 6"]:
        """What became of the pictures' sizes; see `Framing.condition`."""
        frames = [self._scan.crop(row).size_conditioning for row in rows]
        return torch.tensor(frames, dtype=torch.float32, device=self._base.device)

    def _fill_cache(self, paths: Sequence[Path], *, stop: bool) -> dict[int, str]:
        """Keep the latents, and the masks, of every picture of the scan; returns what is wrong with some, by row."""
        bad: dict[int, str] = {}
        waiting: dict[tuple[int, int], list[tuple[int, Image.Image]]] = {}
        for row, position in enumerate(self._scan.valid_indices):
            path, framing = paths[position], self._scan.crop(row)
            self._file_digests.append(file_digest(path))
            self._mask_keys.append(None)
            try:
                if self._masks is not None:
                    self._mask_keys[row] = self._masks.cache_mask(path, framing)
                if self._use_cache and all(self._cache_key(row, mirror) in self._cache for mirror in self._flips):
                    continue
                image = self._load_image(row)
            except InvalidImageError as error:
                if stop:
                    raise
                bad[row] = str(error)
                continue
            if not self._use_cache:
                continue
            group = waiting.setdefault(framing.target_size, [])
            group.append((row, image))
            if len(group) == self._max_batch_size(framing.target_size):
                self._encode_group(waiting.pop(framing.target_size))
        for group in waiting.values():
            self._encode_group(group)
        return bad

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
        """A picture of the scan as it fits its bucket.

        Raises:
            BadPicture: it cannot be read, or its header told another size.
        """
        path, framing = self._paths[self._scan.valid_indices[row]], self._scan.crop(row)
        image = read_image(path)
        if image.size != framing.original_size:
            raise InvalidImageError(f"Picture `{path}` is of another size than its header says.")
        return resize_and_crop(image, framing.target_size)

    def _encode_images(
        self, images: Sequence[Image.Image], mirrored: Sequence[bool]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Latents of pictures of one size, on the base's device; no result depends on which were encoded together."""
        most = self._max_batch_size(images[0].size)
        pixels = torch.stack(
            [each.flip(-1) if mirror else each for each, mirror in zip(map(_to_tensor, images), mirrored, strict=True)]
        )
        return torch.cat([self._base.encode_images(part) for part in pixels.split(most)])

    def _cache_key(self, row: int, mirror: bool) -> str:
        size = self._scan.crop(row).target_size
        base = self._base.digest, self._base.dtype, source_hash(*LATENT_SOURCES)
        return content_key("latent", *base, size, mirror, self._file_digests[row])


def _to_tensor(image: Image.Image) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
