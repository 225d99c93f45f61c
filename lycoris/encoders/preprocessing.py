"""The preprocessing of encoders: images of any size to the input size, by one of three resize modes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from lycoris.encoders import open_clip
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import RESIZE_MODES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_ASPECT_RATIO = 8
"""The largest ratio of sides that mode ``resize`` keeps; more extreme images would need too much memory."""


@dataclass(frozen=True)
class Preprocessing:
    """How an encoder expects its input.

    Attributes:
        size: side of the square input in pixels; the short side if the aspect ratio is kept.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        keep_aspect_ratio: whether mode ``resize`` keeps the aspect ratio (the encoder takes any rectangle) or squashes.
        size_multiple: sides of a rectangle are multiples of this, the patch size or the total stride, in pixels.
        resample: the filter of the resampling, which is anti-aliased.
    """

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    keep_aspect_ratio: bool = False
    size_multiple: int = 1
    resample: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, image: Image.Image, mode: str = "resize") -> Float[Tensor, "3 height width"]:
        """Prepare one image.

        Args:
            image: an image of any size and colour mode.
            mode: ``resize`` squashes to the square (or keeps the aspect ratio, see `keep_aspect_ratio`); ``crop``
                scales the short side to ``size`` and crops the centre; ``padding`` scales the long side to ``size`` and
                pads with the encoder's mean colour, which is 0 after normalization.

        Raises:
            InputError: the mode is unknown, or the aspect ratio is kept and above 8:1.
        """
        return self.normalize(torch.from_numpy(self.pixels(image, mode))[None], mode)[0]

    def pixels(self, image: Image.Image, mode: str = "resize") -> UInt8[np.ndarray, "height width 3"]:
        """Resize an image and return its pixels, from 0 to 255."""
        return np.array(self.resize(image, mode))

    def normalize(
        self, pixels: UInt8[Tensor, "batch height width 3"], mode: str = "resize"
    ) -> Float[Tensor, "batch 3 padded_height padded_width"]:
        """Normalize resized images, on the device of the pixels; mode ``padding`` adds the border."""
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (self.mean, self.std))
        inputs = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(mean).div_(std)
        if mode != "padding":
            return inputs
        height, width = inputs.shape[2:]
        left, top = (self.size - width) // 2, (self.size - height) // 2
        return pad(inputs, (left, self.size - width - left, top, self.size - height - top))

    def resize(self, image: Image.Image, mode: str = "resize") -> Image.Image:
        """Resize an image, before normalization and, in mode ``padding``, before the border is added."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        if mode == "resize":
            return self._resize(image, *self._target_size(image))
        if mode == "crop":
            width, height = _scaled_size(image, self.size / min(image.size))
            left, top = (width - self.size) // 2, (height - self.size) // 2
            return self._resize(image, width, height).crop((left, top, left + self.size, top + self.size))
        if mode == "padding":
            return self._resize(image, *_scaled_size(image, self.size / max(image.size)))
        raise unknown_name_error("resize mode", mode, RESIZE_MODES)

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        return image if image.size == (width, height) else image.resize((width, height), self.resample)

    def _target_size(self, image: Image.Image) -> tuple[int, int]:
        if not self.keep_aspect_ratio:
            return self.size, self.size
        if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
            raise InputError(
                f"Mode `resize` keeps the aspect ratio for this encoder, so it must be at most {MAX_ASPECT_RATIO}:1, "
                f"but got {image.width}x{image.height}; use mode `crop` or `padding`."
            )
        scale = self.size / min(image.size)
        width, height = (
            max(self.size, round(side * scale / self.size_multiple) * self.size_multiple)
            if side > min(image.size)
            else self.size
            for side in image.size
        )
        return width, height


def read_preprocessing(folder: Path, *, keep_aspect_ratio: bool = False, size_multiple: int = 1) -> Preprocessing:
    """Read the preprocessing in a model folder.

    If images are cropped, ``crop_size`` takes precedence over ``size``: it is the input size of the network.

    Args:
        folder: holds ``preprocessor_config.json``, or ``processor_config.json`` with an ``image_processor``, or
            ``open_clip_config.json``.
        keep_aspect_ratio: see `Preprocessing`.
        size_multiple: see `Preprocessing`.

    Raises:
        InputError: no such file exists, or the input is not square.
    """
    config = _read_config(folder)
    crop = config.get("do_center_crop", "crop_size" in config) and config.get("crop_size")
    size = crop or config.get("size")
    if isinstance(size, dict):
        sides = {size[side] for side in ("height", "width", "shortest_edge") if size.get(side) is not None}
    else:
        sides = {size}
    if len(sides) != 1 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"Preprocessing of `{folder}` must have one square input size, but got {size}.")
    normalizes = config.get("do_normalize", True)
    return Preprocessing(
        size=sides.pop(),
        mean=tuple(config.get("image_mean", IMAGENET_MEAN)) if normalizes else (0.0, 0.0, 0.0),
        std=tuple(config.get("image_std", IMAGENET_STD)) if normalizes else (1.0, 1.0, 1.0),
        keep_aspect_ratio=keep_aspect_ratio,
        size_multiple=size_multiple,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "preprocessor_config.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    file = folder / "processor_config.json"
    if file.is_file():
        config = json.loads(file.read_text(encoding="utf-8")).get("image_processor")
        if config:
            return config
    config = open_clip.read_preprocessing_config(folder)
    if config is not None:
        return config
    raise InputError(f"Encoder folder `{folder}` must hold `preprocessor_config.json`, but has none.")


def _scaled_size(image: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))
