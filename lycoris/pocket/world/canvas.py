"""A pen that draws simple shapes on a Pillow canvas, in the drawing's own units.

The unit is the size of the subject (about one half of its height), the origin its centre, x to the right and y
down. A pen may mirror its drawing and may ink every outline; both are what makes one drawing many pictures.
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
    """The colour with `keep` (0 to 1) of its light left."""
    return tuple(int(channel * factor) for channel in colour)  # type: ignore[return-value]


def lighter(colour: Colour, amount: float = 0.55) -> Colour:
    """The colour moved by `add` (0 to 1) of the way to white."""
    return tuple(int(channel + (255 - channel) * amount) for channel in colour)  # type: ignore[return-value]


@dataclass(frozen=True)
class Pen:
    """Shapes in subject units on a canvas of pixels.

    Args:
        canvas: what is drawn on.
        x: pixel column of the origin.
        y: pixel row of the origin.
        scale: pixels of one unit.
        mirrored: whether x runs to the left.
        ink: width of the outline in pixels, 0 for none.
    """

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    scale: float
    mirrored: bool = False
    ink: int = 0

    def to_pixels(self, x: float, y: float) -> Point:
        """The pixel of a point."""
        return self.x + (-x if self.mirrored else x) * self.scale, self.y + y * self.scale

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        (a, top), (b, bottom) = self.to_pixels(x0, y0), self.to_pixels(x1, y1)
        return [min(a, b), top, max(a, b), bottom]

    def _line_width(self, outlined: bool | float) -> int:
        if outlined is True:
            return self.ink
        return max(self.ink, round(outlined * self.scale)) if outlined else 0

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, line: bool | float = True) -> None:
        """An ellipse; `line` is whether it may be inked, or a width in units that is inked in every style."""
        width = self._line_width(line)
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
        line: bool | float = True,
    ) -> None:
        """A rectangle with rounded corners of the given radius."""
        width = self._line_width(line)
        box = self._box(x0, y0, x1, y1)
        self.draw.rounded_rectangle(
            box, radius=radius * self.scale, fill=fill, outline=INK if width else None, width=width or 1
        )

    def polygon(self, points: Sequence[Point], fill: Colour, line: bool | float = True) -> None:
        """A closed polygon."""
        pixels = [self.to_pixels(*point) for point in points]
        self.draw.polygon(pixels, fill=fill)
        if width := self._line_width(line):
            self.draw.line([*pixels, pixels[0], pixels[1]], fill=INK, width=width, joint="curve")

    def slice(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour) -> None:
        """A piece of an ellipse between two angles in degrees, clockwise from the right."""
        if self.mirrored:
            start, end = 180 - end, 180 - start
        box = self._box(x - rx, y - ry, x + rx, y + ry)
        self.draw.pieslice(box, start, end, fill=fill, outline=INK if self.ink else None, width=self.ink or 1)

    def stroke(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """An open line; `width` in units."""
        pixels = [self.to_pixels(*point) for point in points]
        self.draw.line(pixels, fill=fill, width=max(1, round(width * self.scale)), joint="curve")

    def star(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A five-pointed star."""
        corners = []
        for k in range(10):
            r, angle = radius * (0.45 if k % 2 else 1.0), k * math.pi / 5
            corners.append((x + r * math.sin(angle), y - r * math.cos(angle)))
        self.polygon(corners, fill, line=False)

    def heart(self, x: float, y: float, size: float, fill: Colour) -> None:
        """A heart: two discs and a tip."""
        for side in (-1, 1):
            self.ellipse(x + side * size * 0.5, y - size * 0.3, size * 0.55, size * 0.52, fill, line=False)
        self.polygon([(x - size, y - size * 0.1), (x + size, y - size * 0.1), (x, y + size)], fill, line=False)
