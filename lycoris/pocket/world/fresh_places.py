"""Places composed from a seed: one of five landmarks, its colours, the sky and what stands in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lycoris.pocket.world.backgrounds import draw_horizon
from lycoris.pocket.world.canvas import WHITE, Colour, Pen, darker, lighter
from lycoris.pocket.world.generator import PALETTE

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((255, 214, 170), (150, 112, 96)), ((186, 230, 222), (86, 128, 110)), ((70, 60, 110), (40, 44, 70)),
    ((214, 190, 232), (128, 150, 96)), ((150, 196, 232), (198, 170, 120)), ((96, 40, 70), (58, 40, 52)),
)  # fmt: skip
"""Colours above and below the horizon; none of them are those of a known background."""


def tower(pen: Pen, x: float, body: Colour, top: Colour) -> None:
    """A tall tower of three floors with a pointed roof."""
    for floor, half in enumerate((0.16, 0.13, 0.1)):
        y = 0.74 - 0.17 * floor
        pen.rectangle(x - half, y - 0.17, x + half, y, body)
        pen.rectangle(x - 0.03, y - 0.13, x + 0.03, y - 0.05, darker(body, 0.4), outline=False)
    pen.polygon([(x - 0.14, 0.23), (x, 0.05), (x + 0.14, 0.23)], top)


def tent(pen: Pen, x: float, body: Colour, top: Colour) -> None:
    """A wide striped tent with a flag."""
    pen.polygon([(x - 0.42, 0.78), (x, 0.24), (x + 0.42, 0.78)], body)
    for left, right in ((-0.26, -0.13), (0.13, 0.26)):
        pen.polygon([(x + left, 0.78), (x, 0.24), (x + right, 0.78)], top, outline=False)
    pen.polygon([(x - 0.07, 0.78), (x, 0.5), (x + 0.07, 0.78)], darker(body, 0.4), outline=False)
    pen.stroke([(x, 0.26), (x, 0.1)], (60, 50, 50), 0.016)
    pen.polygon([(x, 0.1), (x + 0.13, 0.14), (x, 0.18)], top)


def bridge(pen: Pen, x: float, body: Colour, top: Colour) -> None:
    """A bridge of two towers and hanging ropes over water."""
    pen.rectangle(-0.1, 0.76, 1.1, 1.1, (60, 130, 170), outline=False)
    pen.rectangle(-0.1, 0.6, 1.1, 0.67, body)
    for side in (-0.24, 0.24):
        pen.rectangle(x + side - 0.045, 0.24, x + side + 0.045, 0.86, body)
        pen.rectangle(x + side - 0.065, 0.2, x + side + 0.065, 0.27, top)
    for start, end, low in ((x - 0.6, x - 0.24, 0.5), (x - 0.24, x + 0.24, 0.52), (x + 0.24, x + 0.6, 0.5)):
        ends = (0.56 if start < x - 0.5 else 0.27, 0.56 if end > x + 0.5 else 0.27)
        pen.stroke([(start, ends[0]), ((start + end) / 2, low), (end, ends[1])], top, 0.022)


def island(pen: Pen, x: float, body: Colour, top: Colour) -> None:
    """A round island in the sea with two trees of one colour."""
    pen.rectangle(-0.1, 0.62, 1.1, 1.1, (40, 120, 160), outline=False)
    pen.ellipse(x, 0.76, 0.4, 0.13, body)
    for offset, height in ((-0.12, 0.34), (0.14, 0.24)):
        pen.stroke([(x + offset, 0.72), (x + offset * 1.3, height + 0.06)], (110, 74, 46), 0.04)
        for side in (-0.11, 0, 0.11):
            pen.ellipse(x + offset * 1.3 + side, height + abs(side) * 0.4, 0.1, 0.055, top)


def mountain(pen: Pen, x: float, body: Colour, top: Colour) -> None:
    """Two sharp peaks with caps of another colour."""
    for offset, peak, half in ((0.22, 0.36, 0.34), (-0.12, 0.16, 0.44)):
        tip = x + offset
        pen.polygon([(tip - half, 0.78), (tip, peak), (tip + half, 0.78)], body)
        ratio = 0.3
        depth = peak + (0.78 - peak) * ratio
        cap = [(tip - half * ratio, depth), (tip, peak), (tip + half * ratio, depth), (tip, depth - 0.05)]
        pen.polygon(cap, top, outline=False)
        body = darker(body, 0.8)


LANDMARK_PAINTERS: dict[str, Callable[[Pen, float, Colour, Colour], None]] = {
    painter.__name__: painter for painter in (tower, tent, bridge, island, mountain)
}
"""Noun -> painter of a landmark at a column from 0 (left) to 1 (right), with the colours of its body and its top."""


@dataclass(frozen=True)
class Place:
    """One place; called with a pen and a generator it draws itself, a little different each time.

    Args:
        landmark: a key of `LANDMARK_PAINTERS`.
        colour: name of the landmark's colour.
        top_colour: name of the colour of its roof, ropes, trees or caps.
        sky: index of the colours above and below the horizon.
        disc: colour of the sun or moon; None without one.
        clouds: number of clouds, from 0 to 3.
    """

    landmark: str
    colour: str
    top_colour: str
    sky: int
    disc: Colour | None
    clouds: int

    def __call__(self, pen: Pen, rng: random.Random) -> None:
        above, below = _SKIES[self.sky]
        draw_horizon(pen, above, below, rng.uniform(0.68, 0.74))
        x = 0.5 + rng.uniform(-0.08, 0.08)
        if self.disc:
            pen.ellipse(rng.choice((0.14, 0.86)), 0.16, 0.1, 0.1, self.disc)
        for column in range(self.clouds):
            left = 0.1 + 0.36 * column + rng.uniform(-0.04, 0.04)
            for dx, radius in ((0, 0.05), (0.07, 0.065), (0.14, 0.045)):
                pen.ellipse(left + dx, 0.1, radius, radius * 0.7, lighter(above), outline=False)
        LANDMARK_PAINTERS[self.landmark](pen, x, PALETTE[self.colour], PALETTE[self.top_colour])


def sample_place(rng: random.Random) -> Place:
    """Compose a place at random."""
    colour, top_colour = rng.sample(list(PALETTE), 2)
    return Place(
        landmark=rng.choice(list(LANDMARK_PAINTERS)),
        colour=colour,
        top_colour=top_colour,
        sky=rng.randrange(len(_SKIES)),
        disc=rng.choice((None, WHITE, (255, 226, 96), (255, 120, 70))),
        clouds=rng.randrange(4),
    )
