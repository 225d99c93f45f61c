"""The five styles: outline widths, and how each turns a canvas into an image of the final size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

StyleRenderer = Callable[[Image.Image], Image.Image]
"""Turns a canvas into an image of the final size."""
IMAGE_SIZE = 64
"""Side of an image in pixels."""
OVERSAMPLING = 3
CANVAS_SIZE = IMAGE_SIZE * OVERSAMPLING
"""Side of the canvas in pixels."""

SUBJECT_LINE_WIDTHS = {"comic": 5, "pencil": 4}
"""Outline width of the subject in canvas pixels, by style; other styles have no outline."""
BACKGROUND_LINE_WIDTHS = {"pencil": 3}


def downsample(canvas: Image.Image) -> Image.Image:
    """Resize a canvas to the final size."""
    return canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS, reducing_gap=None)


def _map_pixels(image: Image.Image, transform: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    values = transform(np.asarray(image, np.float32))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def flat(canvas: Image.Image) -> Image.Image:
    """Plain areas of colour."""
    return downsample(canvas)


def comic(canvas: Image.Image) -> Image.Image:
    """Thick outlines and stronger colours."""
    return _map_pixels(downsample(canvas), lambda v: 128 + (v - 128) * 1.12)


def pixel(canvas: Image.Image) -> Image.Image:
    """Blocks of two pixels in steps of colour."""
    small = _map_pixels(
        canvas.resize((IMAGE_SIZE // 2, IMAGE_SIZE // 2), Image.Resampling.BOX), lambda v: np.rint(v / 32) * 32
    )
    return small.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.NEAREST)


def pencil(canvas: Image.Image) -> Image.Image:
    """Grey lines on white paper, areas lightly shaded."""
    grey = downsample(canvas.convert("L"))
    return _map_pixels(grey, lambda v: np.where(v < 60, v + 20, 252 - (252 - v) * 0.42)).convert("RGB")


def pastel(canvas: Image.Image) -> Image.Image:
    """Soft edges in chalky colours."""
    soft = downsample(canvas.filter(ImageFilter.BoxBlur(2)))
    return _map_pixels(soft, lambda v: 255 - (np.array([255, 250, 244]) - v) * 0.5)


STYLE_RENDERERS = {renderer.__name__: renderer for renderer in (flat, comic, pixel, pencil, pastel)}
