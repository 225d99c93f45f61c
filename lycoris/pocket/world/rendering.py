"""The five styles: how a drawing is inked, and what is done to it when it is reduced to its final size."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

SIZE = 64
"""Side of a picture in pixels."""
OVERSAMPLING = 3
CANVAS = SIZE * OVERSAMPLING
"""Side of the canvas on which it is drawn."""

SUBJECT_INK = {"comic": 5, "pencil": 4}
"""Outline width of the subject in canvas pixels; other styles have none."""
SCENERY_INK = {"pencil": 3}


def reduce(canvas: Image.Image) -> Image.Image:
    """The canvas at its final size."""
    return canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS, reducing_gap=None)


def _map(picture: Image.Image, change) -> Image.Image:
    values = change(np.asarray(picture, np.float32))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def flat(canvas: Image.Image) -> Image.Image:
    """Plain areas of colour."""
    return reduce(canvas)


def comic(canvas: Image.Image) -> Image.Image:
    """Thick outlines and stronger colours."""
    return _map(reduce(canvas), lambda v: 128 + (v - 128) * 1.12)


def pixel(canvas: Image.Image) -> Image.Image:
    """Blocks of two pixels in steps of colour."""
    small = _map(canvas.resize((SIZE // 2, SIZE // 2), Image.Resampling.BOX), lambda v: np.rint(v / 32) * 32)
    return small.resize((SIZE, SIZE), Image.Resampling.NEAREST)


def pencil(canvas: Image.Image) -> Image.Image:
    """Grey lines on white paper, areas lightly shaded."""
    grey = reduce(canvas.convert("L"))
    return _map(grey, lambda v: np.where(v < 60, v + 20, 252 - (252 - v) * 0.42)).convert("RGB")


def pastel(canvas: Image.Image) -> Image.Image:
    """Soft edges in chalky colours."""
    soft = reduce(canvas.filter(ImageFilter.BoxBlur(2)))
    return _map(soft, lambda v: 255 - (np.array([255, 250, 244]) - v) * 0.5)


FINISHES = {finish.__name__: finish for finish in (flat, comic, pixel, pencil, pastel)}
