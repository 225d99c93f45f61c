"""A pen that draws simple shapes on a Pillow canvas in subject units.

One unit is about half the height of the subject. The origin is the subject's centre, x points right and y down. A pen
can mirror what it draws and can outline every shape, so one drawing function yields many images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (32, 28, 36)
WHITE: Colour = (255, 255, 255)


def darker(colour: Colour, factor: float = 0.65) -> Colour:
    """The colour with every channel multiplied by `factor`, from 0 (black) to 1 (unchanged)."""
    return tuple(int(channel * factor) for channel in colour)  # type: ignore[return-value]


def lighter(colour: Colour, amount: float = 0.55) -> Colour:
    """The colour blended with white by `amount`, from 0 (unchanged) to 1 (white)."""
    return tuple(int(channel + (255 - channel) * amount) for channel in colour)  # type: ignore[return-value]


@dataclass(frozen=True)
class Pen:
    """Draws shapes given in subject units.

    Args:
        draw: Pillow's drawing interface of the canvas.
        x: pixel column of the origin.
        y: pixel row of the origin.
        scale: pixels per unit.
        mirrored: whether x points left.
        outline_width: default width of outlines in pixels; 0 draws none.
    """

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    scale: float
    mirrored: bool = False
    outline_width: int = 0

    def to_pixels(self, x: float, y: float) -> Point:
        """Pixel coordinates of a point given in subject units."""
        return self.x + (-x if self.mirrored else x) * self.scale, self.y + y * self.scale

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        (a, top), (b, bottom) = self.to_pixels(x0, y0), self.to_pixels(x1, y1)
        return [min(a, b), top, max(a, b), bottom]

    def _outline_width(self, outline: bool | float) -> int:
        if outline is True:
            return self.outline_width
        return max(self.outline_width, round(outline * self.scale)) if outline else 0

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, outline: bool | float = True) -> None:
        """Draw an ellipse; `outline` turns the pen's outline on or off, or sets its minimum width in units."""
        width = self._outline_width(outline)
        box = self._box(x - rx, y - ry, x + rx, y + ry)
        self.draw.ellipse(box, fill=fill, outline=INK if width else None, width=width)

    def rectangle(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour,
        radius: float = 0.0,
        outline: bool | float = True,
    ) -> None:
        """Draw a rectangle whose corners are rounded by `radius`."""
        width = self._outline_width(outline)
        box = self._box(x0, y0, x1, y1)
        self.draw.rounded_rectangle(
            box, radius=radius * self.scale, fill=fill, outline=INK if width else None, width=width or 1
        )

    def polygon(self, points: Sequence[Point], fill: Colour, outline: bool | float = True) -> None:
        """Draw a closed polygon."""
        pixels = [self.to_pixels(*point) for point in points]
        self.draw.polygon(pixels, fill=fill)
        if width := self._outline_width(outline):
            self.draw.line([*pixels, pixels[0], pixels[1]], fill=INK, width=width, joint="curve")

    def sector(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour) -> None:
        """Draw a sector of an ellipse between two angles in degrees, clockwise from the right."""
        if self.mirrored:
            start, end = 180 - end, 180 - start
        box = self._box(x - rx, y - ry, x + rx, y + ry)
        self.draw.pieslice(
            box, start, end, fill=fill, outline=INK if self.outline_width else None, width=self.outline_width or 1
        )

    def stroke(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw an open line `width` units wide."""
        pixels = [self.to_pixels(*point) for point in points]
        self.draw.line(pixels, fill=fill, width=max(1, round(width * self.scale)), joint="curve")

    def star(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """Draw a five-pointed star."""
        corners = []
        for k in range(10):
            r, angle = radius * (0.45 if k % 2 else 1.0), k * math.pi / 5
            corners.append((x + r * math.sin(angle), y - r * math.cos(angle)))
        self.polygon(corners, fill, outline=False)

    def heart(self, x: float, y: float, size: float, fill: Colour) -> None:
        """Draw a heart: two discs and a tip."""
        for side in (-1, 1):
            self.ellipse(x + side * size * 0.5, y - size * 0.3, size * 0.55, size * 0.52, fill, outline=False)
        self.polygon([(x - size, y - size * 0.1), (x + size, y - size * 0.1), (x, y + size)], fill, outline=False)
