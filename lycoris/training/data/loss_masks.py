"""Masks: where in a picture the loss counts, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.cache.store import code_version, file_digest
from lycoris.data.images import BadPicture, mask_file, read_alpha, read_image
from lycoris.training.config import MaskSource
from lycoris.training.data.cropping import Framing, fit
from lycoris.training.data.latent_cache import Kept, content_key

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

CODE = ("data/images.py", "training/data/loss_masks.py", "training/data/cropping.py")


class Masks:
    """Weights in [0, 1] of a picture's latent cells, from black to white or from clear to opaque.

    Args:
        source: ``"file"`` for ``name.mask.png`` beside a picture, ``"alpha"`` for its own transparency.
        factor: pixels a latent cell.
        kept: where the weights are kept.
    """

    def __init__(self, source: MaskSource, factor: int, kept: Kept) -> None:
        self.source, self._factor, self._kept = source, factor, kept

    def keep(self, path: Path, framing: Framing) -> str | None:
        """Bring a picture's mask to the size of its latent, as the picture itself is brought to its bucket.

        Returns:
            The key that its weights are kept under; None where the picture has no mask and so counts whole.

        Raises:
            BadPicture: the mask is no picture, of another size than its picture, or black throughout.
        """
        file = mask_file(path) if self.source == "file" else path
        if file is None:
            return None
        key = content_key("mask", self.source, code_version(*CODE), framing, self._factor, file_digest(file))
        if key not in self._kept:
            mask = read_image(file).convert("L") if self.source == "file" else read_alpha(file)
            self._kept.write(key, {} if mask is None else {"mask": self._weights(mask, file, framing)})
        return key if self._kept.read(key) else None

    def stack(
        self, keys: Sequence[str | None], framing: Framing, flipped: Sequence[bool]
    ) -> Float[Tensor, "batch rows columns"]:
        """The weights of some pictures of one size."""
        width, height = framing.target
        whole = torch.ones(height // self._factor, width // self._factor)
        masks = [whole if key is None else self._kept.read(key)["mask"] for key in keys]
        return torch.stack([mask.flip(-1) if mirror else mask for mask, mirror in zip(masks, flipped, strict=True)])

    def _weights(self, mask: Image.Image, file: Path, framing: Framing) -> Float[Tensor, "rows columns"]:
        width, height = framing.original
        if mask.size != framing.original:
            raise BadPicture(
                f"Mask `{file}` must be of its picture's size, {width} x {height}, but is {mask.width} x {mask.height}."
            )
        cells = framing.target[0] // self._factor, framing.target[1] // self._factor
        small = fit(mask, framing.target).resize(cells, Image.Resampling.BOX)
        weights = torch.from_numpy(np.array(small)).float() / 255
        if not weights.any():
            raise BadPicture(f"Mask `{file}` is black: nothing of its picture would count.")
        return weights
