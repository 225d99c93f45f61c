"""From a picture of any size to what an encoder was trained to see, by one of three resize modes."""

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
"""The largest ratio of sides that is kept when an encoder takes rectangles; beyond it memory runs away."""


@dataclass(frozen=True)
class Preprocessing:
    """What an encoder expects of its input.

    Attributes:
        size: side of the square input in pixels; the short side, where rectangles keep their aspect.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        rectangles: whether mode ``resize`` keeps the aspect (the encoder takes any rectangle) or squashes.
        step: sides of a rectangle are multiples of this, the patch or the total stride, in pixels.
    """

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    keep_aspect_ratio: bool = False
    size_multiple: int = 1

    def __call__(self, image: Image.Image, mode: str = "resize") -> Float[Tensor, "3 height width"]:
        """The encoder's input for one picture; the resampling is bicubic with anti-aliasing.

        Args:
            image: any size; modes other than RGB are converted.
            mode: ``resize`` squashes to the square (or keeps the aspect, see ``rectangles``); ``crop``
                brings the short side to ``size`` and cuts the centre; ``padding`` brings the long side to
                ``size`` and fills up with the encoder's mean colour, which is 0 after normalisation.

        Raises:
            InputError: the mode is unknown, or a rectangle is longer than eight times its width.
        """
        return self.normalize(torch.from_numpy(self.pixels(image, mode))[None], mode)[0]

    def pixels(self, image: Image.Image, mode: str = "resize") -> UInt8[np.ndarray, "height width 3"]:
        """What `fit` gives, as numbers from 0 to 255."""
        return np.array(self.resize(image, mode))

    def normalize(
        self, pixels: UInt8[Tensor, "batch height width 3"], mode: str = "resize"
    ) -> Float[Tensor, "batch 3 side width"]:
        """The encoder's input for pictures at its size, on the device of the pixels; ``padding`` adds the border."""
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (self.mean, self.std))
        inputs = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(mean).div_(std)
        if mode != "padding":
            return inputs
        height, width = inputs.shape[2:]
        left, top = (self.size - width) // 2, (self.size - height) // 2
        return pad(inputs, (left, self.size - width - left, top, self.size - height - top))

    def resize(self, image: Image.Image, mode: str = "resize") -> Image.Image:
        """The picture at the encoder's size, before normalisation and, for ``padding``, before the border."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        if mode == "resize":
            return _resize(image, *self._target_size(image))
        if mode == "crop":
            width, height = _scaled_size(image, self.size / min(image.size))
            left, top = (width - self.size) // 2, (height - self.size) // 2
            return _resize(image, width, height).crop((left, top, left + self.size, top + self.size))
        if mode == "padding":
            return _resize(image, *_scaled_size(image, self.size / max(image.size)))
        raise unknown_name_error("resize mode", mode, RESIZE_MODES)

    def _target_size(self, image: Image.Image) -> tuple[int, int]:
        if not self.keep_aspect_ratio:
            return self.size, self.size
        if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
            raise InputError(
                f"Mode `resize` keeps the aspect for this encoder, so sides must be at most {MAX_ASPECT_RATIO}:1, "
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
    """The preprocessing that a model folder states in ``preprocessor_config.json``.

    ``crop_size``, where the picture is cropped, goes before ``size``: it is what the network sees.

    Args:
        folder: holds ``preprocessor_config.json``, or ``processor_config.json`` with ``image_processor``
            inside, or ``open_clip_config.json``.
        rectangles: passed on.
        step: passed on.

    Raises:
        InputError: neither file is there, or the input is not one square.
    """
    stated = _read_config(folder)
    crop = stated.get("do_center_crop", "crop_size" in stated) and stated.get("crop_size")
    size = crop or stated.get("size")
    if isinstance(size, dict):
        sides = {size[side] for side in ("height", "width", "shortest_edge") if size.get(side) is not None}
    else:
        sides = {size}
    if len(sides) != 1 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"Preprocessing of `{folder}` must have one square input size, but got {size}.")
    normalised = stated.get("do_normalize", True)
    return Preprocessing(
        size=sides.pop(),
        mean=tuple(stated.get("image_mean", IMAGENET_MEAN)) if normalised else (0.0, 0.0, 0.0),
        std=tuple(stated.get("image_std", IMAGENET_STD)) if normalised else (1.0, 1.0, 1.0),
        keep_aspect_ratio=keep_aspect_ratio,
        size_multiple=size_multiple,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "preprocessor_config.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    file = folder / "processor_config.json"
    if file.is_file():
        stated = json.loads(file.read_text(encoding="utf-8")).get("image_processor")
        if stated:
            return stated
    from_open_clip = open_clip.read_preprocessing_config(folder)
    if from_open_clip is not None:
        return from_open_clip
    raise InputError(f"Encoder folder `{folder}` must hold `preprocessor_config.json`, but has none.")


def _scaled_size(image: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
