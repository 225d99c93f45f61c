"""Styles composed from a seed: one of four techniques with colours and a grain of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lycoris.pocket.world.canvas import Colour, darker, lighter
from lycoris.pocket.world.generator import PALETTE
from lycoris.pocket.world.rendering import IMAGE_SIZE, downsample
from lycoris.pocket.world.unseen_styles import edge_strength, to_image

_SIDE = np.arange(IMAGE_SIZE)


def _brightness(canvas: Image.Image) -> np.ndarray:
    """Brightness at the final size, in [0, 1], of shape (height, width, 1)."""
    return np.asarray(downsample(canvas.convert("L")), np.float32)[..., None] / 255


def lines(canvas: Image.Image, paper: Colour, ink: Colour, grain: int) -> np.ndarray:
    """Lines of one colour on paper of another, with dots every `grain` pixels."""
    values = np.broadcast_to(np.array(paper, np.float32), (IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    values[:: 2 * grain, :: 2 * grain] = values[:: 2 * grain, :: 2 * grain] * 0.5 + np.array(ink) * 0.5
    return values + (np.array(ink) - values) * np.clip(edge_strength(canvas) * 1.6, 0, 1)[..., None]


def poster(canvas: Image.Image, paper: Colour, ink: Colour, grain: int) -> np.ndarray:
    """`grain` steps of brightness between two colours."""
    steps = np.rint(_brightness(canvas) * (grain - 1)) / (grain - 1)
    return np.array(ink) + (np.array(paper, np.float32) - np.array(ink)) * steps


def stripes(canvas: Image.Image, paper: Colour, ink: Colour, grain: int) -> np.ndarray:
    """Slanted stripes of ink, the wider the darker the image, over pale colours."""
    phase = ((_SIDE[:, None] + _SIDE[None, :]) % (grain + 2)) / (grain + 2)
    inked = (phase[..., None] > _brightness(canvas) * 0.9 + 0.1).astype(np.float32)
    colours = np.asarray(downsample(canvas), np.float32) * 0.4 + np.array(paper) * 0.6
    return colours + (np.array(ink) - colours) * inked


def tiles(canvas: Image.Image, paper: Colour, ink: Colour, grain: int) -> np.ndarray:
    """Bricks of one colour each, in rows that are shifted, with joints of ink and a tint of the paper."""
    height, width = 4, 8
    rows = []
    for row, top in enumerate(range(0, IMAGE_SIZE, height)):
        shift = (row % 2) * width // 2
        band = np.roll(np.asarray(downsample(canvas), np.float32)[top : top + height], shift, 1)
        means = band.reshape(height, IMAGE_SIZE // width, width, 3).mean((0, 2))
        brick = np.rint(means * 0.8 + np.array(paper) * 0.2).repeat(width, 0)[None].repeat(height, 0)
        brick[0], brick[:, ::width] = ink, ink
        rows.append(np.roll(brick, -shift, 1))
    return np.concatenate(rows)


TECHNIQUES: dict[str, Callable[[Image.Image, Colour, Colour, int], np.ndarray]] = {
    technique.__name__: technique for technique in (lines, poster, stripes, tiles)
}
"""Word -> values in [0, 255], of shape (height, width, 3), from a canvas, two colours and a grain of 2 to 4 pixels."""


@dataclass(frozen=True)
class Style:
    """One style; called with a canvas it gives the image of the final size.

    Args:
        technique: a key of `TECHNIQUES`.
        colour: name of the colour of the paper.
        ink_colour: name of the colour of the ink, which is darkened.
        grain: size of dots, steps and stripes in pixels.
        pale: whether the paper is a pale shade of its colour.
    """

    technique: str
    colour: str
    ink_colour: str
    grain: int
    pale: bool

    def __call__(self, canvas: Image.Image) -> Image.Image:
        paper = lighter(PALETTE[self.colour], 0.6) if self.pale else PALETTE[self.colour]
        return to_image(TECHNIQUES[self.technique](canvas, paper, darker(PALETTE[self.ink_colour], 0.4), self.grain))


def sample_style(rng: random.Random) -> Style:
    """Compose a style at random."""
    colour, ink_colour = rng.sample(list(PALETTE), 2)
    return Style(rng.choice(list(TECHNIQUES)), colour, ink_colour, rng.choice((2, 3, 4)), rng.random() < 0.5)
