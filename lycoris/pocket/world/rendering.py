"""The five styles: how a drawing is inked, and what is done to it when it is reduced to its final size."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

IMAGE_SIZE = 64
"""Side of a picture in pixels."""
OVERSAMPLING = 3
CANVAS_SIZE = IMAGE_SIZE * OVERSAMPLING
"""Side of the canvas on which it is drawn."""

SUBJECT_LINE_WIDTHS = {"comic": 5, "pencil": 4}
"""Outline width of the subject in canvas pixels; other styles have none."""
BACKGROUND_LINE_WIDTHS = {"pencil": 3}


def downsample(canvas: Image.Image) -> Image.Image:
    """The canvas at its final size."""
    return canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS, reducing_gap=None)


def _map_pixels(image: Image.Image, transform) -> Image.Image:
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


STYLE_RENDERERS = {finish.__name__: finish for finish in (flat, comic, pixel, pencil, pastel)}
