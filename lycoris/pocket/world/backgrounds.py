"""The eight backgrounds: plain behind the subject, each recognizable by its colours and one landmark."""

from __future__ import annotations

import random
from collections.abc import Callable

from lycoris.pocket.world.canvas import WHITE, Colour, Pen

BackgroundPainter = Callable[[Pen, random.Random], None]
"""Draws a whole background; the pen's unit is the side of the canvas, its origin the upper left corner."""


def draw_horizon(pen: Pen, above: Colour, below: Colour, horizon: float) -> None:
    """Fill the areas above and below the horizon, a height from 0 (top) to 1 (bottom)."""
    pen.rectangle(-0.1, -0.1, 1.1, horizon, above)
    pen.rectangle(-0.1, horizon, 1.1, 1.1, below)


def _draw_dot(pen: Pen, x: float, y: float, radius: float, fill: Colour) -> None:
    pen.ellipse(x, y, radius, radius, fill)


def _random_corner(rng: random.Random) -> float:
    return rng.choice((0.13, 0.87))


def meadow(pen: Pen, rng: random.Random) -> None:
    draw_horizon(pen, (150, 210, 250), (120, 200, 90), rng.uniform(0.6, 0.68))
    for x in (0.1, 0.24, 0.78, 0.92):
        colour = rng.choice(((255, 255, 255), (250, 220, 80), (250, 120, 150)))
        _draw_dot(pen, x + rng.uniform(-0.04, 0.04), rng.uniform(0.76, 0.94), 0.028, colour)


def beach(pen: Pen, rng: random.Random) -> None:
    shore = rng.uniform(0.62, 0.68)
    draw_horizon(pen, (175, 225, 250), (242, 216, 150), shore)
    pen.rectangle(-0.1, shore - 0.2, 1.1, shore, (40, 150, 205))
    _draw_dot(pen, _random_corner(rng), 0.16, 0.11, (255, 225, 90))


def night(pen: Pen, rng: random.Random) -> None:
    draw_horizon(pen, (24, 26, 74), (36, 52, 62), rng.uniform(0.7, 0.76))
    moon = _random_corner(rng)
    for x, y in ((0.08, 0.38), (0.22, 0.1), (0.3, 0.26), (0.72, 0.08), (0.8, 0.3), (0.93, 0.46), (0.06, 0.58)):
        _draw_dot(pen, x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03), 0.017, (255, 250, 200))
    _draw_dot(pen, moon, 0.16, 0.1, (250, 245, 205))


def city(pen: Pen, rng: random.Random) -> None:
    street = rng.uniform(0.68, 0.74)
    draw_horizon(pen, (206, 208, 220), (88, 88, 94), street)
    left = -rng.uniform(0.0, 0.08)
    for k in range(5):
        shade = ((120, 120, 142), (144, 130, 132), (105, 115, 132))[(k + rng.randint(0, 1)) % 3]
        top = rng.uniform(0.08, 0.36)
        pen.rectangle(left, top, left + 0.2, street, shade)
        for row in range(3):
            for column in (0.035, 0.115):
                x, y = left + column, top + 0.06 + row * 0.13
                pen.rectangle(x, y, x + 0.05, y + 0.06, (250, 235, 150), outline=False)
        left += 0.225


def room(pen: Pen, rng: random.Random) -> None:
    floor = rng.uniform(0.66, 0.72)
    draw_horizon(pen, (238, 208, 178), (152, 102, 68), floor)
    pen.rectangle(-0.1, floor - 0.04, 1.1, floor, (250, 240, 225), outline=False)
    x = rng.choice((0.04, 0.7))
    pen.rectangle(x, 0.08, x + 0.26, 0.36, WHITE)
    for dx in (0.03, 0.14):
        pen.rectangle(x + dx, 0.11, x + dx + 0.09, 0.33, (160, 212, 246), outline=False)


def snow(pen: Pen, rng: random.Random) -> None:
    draw_horizon(pen, (178, 196, 222), (250, 250, 255), rng.uniform(0.6, 0.68))
    for x, y in ((0.08, 0.12), (0.2, 0.34), (0.32, 0.1), (0.7, 0.12), (0.82, 0.34), (0.93, 0.14), (0.06, 0.52)):
        _draw_dot(pen, x + rng.uniform(-0.04, 0.04), y + rng.uniform(-0.04, 0.04), 0.024, WHITE)


def forest(pen: Pen, rng: random.Random) -> None:
    ground = rng.uniform(0.7, 0.76)
    draw_horizon(pen, (172, 208, 184), (88, 114, 62), ground)
    left = -rng.uniform(0.02, 0.16)
    for _ in range(5):
        green = rng.choice(((40, 105, 60), (30, 90, 50), (52, 118, 62)))
        pen.rectangle(left + 0.1, ground - 0.14, left + 0.17, ground, (96, 66, 42))
        pen.polygon([(left, ground - 0.1), (left + 0.135, rng.uniform(0.04, 0.16)), (left + 0.27, ground - 0.1)], green)
        left += 0.245


def plain(pen: Pen, rng: random.Random) -> None:
    pen.rectangle(-0.1, -0.1, 1.1, 1.1, (250, 240, 225))


BACKGROUND_PAINTERS: dict[str, BackgroundPainter] = {
    painter.__name__: painter for painter in (meadow, beach, night, city, room, snow, forest, plain)
}
