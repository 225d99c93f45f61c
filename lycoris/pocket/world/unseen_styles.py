"""Styles that the base model has not been trained on: neon signs, mosaic tiles, blueprints."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from lycoris.pocket.world.rendering import IMAGE_SIZE, downsample


def edge_strength(canvas: Image.Image) -> np.ndarray:
    """Edge strength at the final size, in [0, 1], of shape (height, width)."""
    grey = canvas.filter(ImageFilter.GaussianBlur(1.2))
    lightest, darkest = grey.filter(ImageFilter.MaxFilter(3)), grey.filter(ImageFilter.MinFilter(3))
    steps = (np.asarray(lightest, np.float32) - np.asarray(darkest, np.float32)).max(2)
    strength = Image.fromarray(np.clip(steps * 2.4, 0, 255).astype(np.uint8))
    return np.asarray(downsample(strength), np.float32) / 255


def to_image(values: np.ndarray) -> Image.Image:
    """An image of values that are rounded and clipped to [0, 255], of shape (height, width, 3)."""
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def neon(canvas: Image.Image) -> Image.Image:
    """Glowing tubes in cyan and magenta on a dark wall."""
    line = np.clip(edge_strength(canvas) * 1.5, 0, 1)[..., None]
    blurred = Image.fromarray((line[..., 0] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    glow = np.asarray(blurred, np.float32)[..., None] / 255
    height = np.linspace(0, 1, IMAGE_SIZE, dtype=np.float32)[:, None, None]
    tube = np.array([70, 255, 235]) * (1 - height) + np.array([255, 80, 205]) * height
    return to_image(np.array([16, 10, 36]) + tube * np.clip(line * 0.9 + glow * 0.35, 0, 1))


def mosaic(canvas: Image.Image) -> Image.Image:
    """Square tiles of strong colour with dark joints."""
    tiles = canvas.resize((IMAGE_SIZE // 4, IMAGE_SIZE // 4), Image.Resampling.BOX)
    plain = np.asarray(tiles, np.float32)
    values = 128 + (np.rint(plain / 40) * 40 - 128) * 1.1
    large = np.clip(values, 0, 255).repeat(4, 0).repeat(4, 1)
    large[::4] *= 0.7
    large[:, ::4] *= 0.7
    return to_image(large)


def blueprint(canvas: Image.Image) -> Image.Image:
    """White lines on blue paper with a faint grid."""
    line = np.clip(edge_strength(canvas) * 1.6, 0, 1)[..., None]
    paper = np.broadcast_to(np.array([28, 72, 160], np.float32), (IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    paper[::8] = paper[:, ::8] = (52, 98, 186)
    return to_image(paper + (np.array([236, 244, 255]) - paper) * line)
