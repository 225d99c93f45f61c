"""Masks: where in a picture the loss counts, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import source_hash
from lycoris.data.images import InvalidImageError, find_mask, read_alpha, read_image
from lycoris.training.config import MaskSource
from lycoris.training.data.cropping import ResizeCrop, resize_and_crop
from lycoris.training.data.latent_cache import TensorCache, content_key

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MASK_SOURCES = ("data/images.py", "training/data/loss_masks.py", "training/data/cropping.py")


class LossMasks:
    """Weights in [0, 1] of a picture's latent cells, from black to white or from clear to opaque.

    Args:
        source: ``"file"`` for ``name.mask.png`` beside a picture, ``"alpha"`` for its own transparency.
        factor: pixels a latent cell.
        kept: where the weights are kept.
    """

    def __init__(self, source: MaskSource, vae_scale_factor: int, cache: TensorCache) -> None:
        self.source, self._vae_scale_factor, self._cache = source, vae_scale_factor, cache

    def cache_mask(self, path: Path, crop: ResizeCrop) -> str | None:
        """Bring a picture's mask to the size of its latent, as the picture itself is brought to its bucket.

        Returns:
            The key that its weights are kept under; None where the picture has no mask and so counts whole.

        Raises:
            BadPicture: the mask is no picture, of another size than its picture, or black throughout.
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
        """The weights of some pictures of one size."""
        width, height = crop.target_size
        whole = torch.ones(height // self._vae_scale_factor, width // self._vae_scale_factor)
        masks = [whole if key is None else self._cache.read(key)["mask"] for key in keys]
        return torch.stack([mask.flip(-1) if mirror else mask for mask, mirror in zip(masks, flipped, strict=True)])

    def _to_weights(self, mask: Image.Image, file: Path, crop: ResizeCrop) -> Float[Tensor, "rows columns"]:
        width, height = crop.original_size
        if mask.size != crop.original_size:
            raise InvalidImageError(
                f"Mask `{file}` must be of its picture's size, {width} x {height}, but is {mask.width} x {mask.height}."
            )
        cells = crop.target_size[0] // self._vae_scale_factor, crop.target_size[1] // self._vae_scale_factor
        small = resize_and_crop(mask, crop.target_size).resize(cells, Image.Resampling.BOX)
        weights = torch.from_numpy(np.array(small)).float() / 255
        if not weights.any():
            raise InvalidImageError(f"Mask `{file}` is black: nothing of its picture would count.")
        return weights
