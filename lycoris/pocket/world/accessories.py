"""The four accessories: large, always outlined, in colours of their own, so that they are visible at 64 pixels."""

from __future__ import annotations

from collections.abc import Callable

from lycoris.pocket.world.canvas import INK, WHITE, Colour, Pen
from lycoris.pocket.world.species import Anchors

_OUTLINE_WIDTH = 0.06
FELT: Colour = (66, 48, 60)
WOOL: Colour = (20, 165, 155)
SATIN: Colour = (240, 45, 140)


def hat(pen: Pen, anchors: Anchors) -> None:
    """A top hat with a red band."""
    (x, y), size = anchors.top, anchors.size
    pen.rectangle(x - 0.3 * size, y - 0.52 * size, x + 0.3 * size, y + 0.04, FELT, 0.04, outline=_OUTLINE_WIDTH)
    pen.rectangle(x - 0.29 * size, y - 0.18 * size, x + 0.29 * size, y - 0.02, (225, 60, 60), outline=False)
    pen.rectangle(x - 0.54 * size, y - 0.02, x + 0.54 * size, y + 0.13, FELT, 0.04, outline=_OUTLINE_WIDTH)


def scarf(pen: Pen, anchors: Anchors) -> None:
    """A long teal scarf with a white stripe at its end."""
    (x, y), size = anchors.neck, anchors.size
    pen.rectangle(x + 0.1 * size, y, x + 0.4 * size, y + 0.62 * size, WOOL, 0.05, outline=_OUTLINE_WIDTH)
    end = y + 0.62 * size
    pen.rectangle(x + 0.14 * size, end - 0.22, x + 0.36 * size, end - 0.1, WHITE, outline=False)
    pen.rectangle(x - 0.5 * size, y - 0.12, x + 0.5 * size, y + 0.13, WOOL, 0.11, outline=_OUTLINE_WIDTH)


def glasses(pen: Pen, anchors: Anchors) -> None:
    """Round black glasses with white lenses."""
    (x, y), size = anchors.eyes, anchors.size
    for side in (-0.27 * size, 0.27 * size):
        pen.ellipse(x + side, y, 0.27 * size, 0.27 * size, WHITE, outline=0.1)
        pen.ellipse(x + side, y + 0.01, 0.09 * size, 0.11 * size, INK, outline=False)


def bow(pen: Pen, anchors: Anchors) -> None:
    """A pink bow, a little to one side of the head."""
    (x, y), size = anchors.top, anchors.size
    x, y = x + 0.12, y + 0.04
    for side in (-1, 1):
        wing = [(x, y), (x + side * 0.42 * size, y - 0.29 * size), (x + side * 0.42 * size, y + 0.27 * size)]
        pen.polygon(wing, SATIN, outline=_OUTLINE_WIDTH)
    pen.ellipse(x, y, 0.13, 0.13, (180, 20, 100), outline=_OUTLINE_WIDTH)


ACCESSORY_PAINTERS: dict[str, Callable[[Pen, Anchors], None]] = {
    piece.__name__: piece for piece in (hat, scarf, glasses, bow)
}
