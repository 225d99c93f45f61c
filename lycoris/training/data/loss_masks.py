"""Loss masks: where in an image the loss counts, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import source_hash
from lycoris.data.images import IMAGE_SOURCES, InvalidImageError, find_mask, read_alpha, read_image
from lycoris.training.config import MaskSource
from lycoris.training.data.cropping import ResizeCrop, resize_and_crop
from lycoris.training.data.tensor_cache import TensorCache, content_key

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MASK_SOURCES = (*IMAGE_SOURCES, "training/data/loss_masks.py", "training/data/cropping.py")


class LossMasks:
    """Weights in [0, 1] of an image's latent cells, from black to white or from transparent to opaque.

    Args:
        source: ``"file"`` for ``name.mask.png`` beside an image, ``"alpha"`` for its own transparency.
        vae_scale_factor: pixels per latent cell.
        cache: cache of the weights.
    """

    def __init__(self, source: MaskSource, vae_scale_factor: int, cache: TensorCache) -> None:
        self.source, self._vae_scale_factor, self._cache = source, vae_scale_factor, cache

    def cache_mask(self, path: Path, crop: ResizeCrop) -> str | None:
        """Resize and crop an image's mask like the image itself, and cache its weights per latent cell.

        Returns:
            The cache key of the weights; None if the image has no mask and so counts everywhere.

        Raises:
            InvalidImageError: the mask is not an image, differs from its image in size, or is entirely black.
        """
        file = find_mask(path) if self.source == "file" else path
        if file is None:
            return None
        key = content_key(
            "mask", self.source, source_hash(*MASK_SOURCES), crop, self._vae_scale_factor, file_digest(file)
        )
        if key not in self._cache:
            mask = read_image(file).convert("L") if self.source == "file" else read_alpha(file)
            self._cache.write(key, {} if mask is None else {"mask": self._to_weights(mask, file, crop)})
        return key if self._cache.read(key) else None

    def stack(
        self, keys: Sequence[str | None], crop: ResizeCrop, flipped: Sequence[bool]
    ) -> Float[Tensor, "batch rows columns"]:
        """Stack the weights of images of one size."""
        width, height = crop.target_size
        unmasked = torch.ones(height // self._vae_scale_factor, width // self._vae_scale_factor)
        masks = [unmasked if key is None else self._cache.read(key)["mask"] for key in keys]
        return torch.stack([mask.flip(-1) if mirror else mask for mask, mirror in zip(masks, flipped, strict=True)])

    def _to_weights(self, mask: Image.Image, file: Path, crop: ResizeCrop) -> Float[Tensor, "rows columns"]:
        width, height = crop.original_size
        if mask.size != crop.original_size:
            raise InvalidImageError(
                f"Mask `{file}` must have its image's size, {width} x {height}, but is {mask.width} x {mask.height}."
            )
        cells = crop.target_size[0] // self._vae_scale_factor, crop.target_size[1] // self._vae_scale_factor
        small = resize_and_crop(mask, crop.target_size).resize(cells, Image.Resampling.BOX)
        weights = torch.from_numpy(np.array(small)).float() / 255
        if not weights.any():
            raise InvalidImageError(f"Mask `{file}` is entirely black: nothing of its image would count.")
        return weights
