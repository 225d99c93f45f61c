"""The twelve species, their optional details, and the anchor points of accessories.

A species is a function that takes a pen, a colour and `Details`, draws the subject and returns its `Anchors`. To add
one, write the function and list it in `SPECIES_PAINTERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lycoris.pocket.world.canvas import INK, WHITE, Colour, Pen, Point, darker, lighter

BEAK: Colour = (245, 155, 35)
LEAF: Colour = (60, 150, 70)
BLUSH: Colour = (250, 165, 175)
EarShape = Literal["pointy", "round", "long", "horns", "droopy", "antenna", "none"]


@dataclass(frozen=True)
class Details:
    """Features that distinguish one character from its species; `None` keeps the default of the species."""

    ears: EarShape | None = None
    ear_colour: Colour | None = None
    body: Colour | None = None
    belly: Colour | None = None
    half: Colour | None = None
    mask: Colour | None = None
    wings: Colour | None = None
    patch: Colour | None = None
    heart: Colour | None = None
    star: Colour | None = None
    stripes: Colour | None = None
    spots: Colour | None = None

    @property
    def tags(self) -> list[str]:
        """Tags of the visible details, the ears first."""
        marks = {
            "wings": self.wings,
            "spotted": self.spots,
            "striped": self.stripes,
            "heart": self.heart,
            "star": self.star,
            "mask": self.mask,
            "patch": self.patch,
            "two colored": self.half,
        }
        ears = {"horns": ["horns"], "droopy": ["droopy ears"], "antenna": ["antenna"]}.get(self.ears or "", [])
        return ears + [name for name, colour in marks.items() if colour is not None]


@dataclass(frozen=True)
class Anchors:
    """Positions of hat, glasses and scarf in subject units, and the scale of accessories."""

    top: Point
    eyes: Point
    neck: Point
    size: float = 1.0


def draw_face(pen: Pen, x: float, y: float, mouth: bool = True) -> None:
    """Draw two eyes and, optionally, a smile."""
    for side in (-0.19, 0.19):
        pen.ellipse(x + side, y, 0.075, 0.095, INK, outline=False)
        pen.ellipse(x + side + 0.022, y - 0.035, 0.028, 0.032, WHITE, outline=False)
    if mouth:
        pen.stroke([(x - 0.08, y + 0.16), (x, y + 0.21), (x + 0.08, y + 0.16)], INK, 0.05)


def draw_ears(pen: Pen, shape: str, colour: Colour) -> None:
    """Draw a pair of ears, horns or antennae."""
    for side in (-1, 1):
        if shape == "pointy":
            pen.polygon([(side * 0.5, -0.3), (side * 0.5, -0.92), (side * 0.06, -0.58)], colour)
            pen.polygon([(side * 0.42, -0.5), (side * 0.43, -0.76), (side * 0.22, -0.6)], BLUSH, outline=False)
        elif shape == "round":
            pen.ellipse(side * 0.42, -0.58, 0.21, 0.21, colour)
            pen.ellipse(side * 0.42, -0.58, 0.11, 0.11, lighter(colour), outline=False)
        elif shape == "long":
            pen.ellipse(side * 0.25, -0.82, 0.15, 0.42, colour)
            pen.ellipse(side * 0.25, -0.8, 0.07, 0.3, BLUSH, outline=False)
        elif shape == "horns":
            pen.polygon([(side * 0.46, -0.4), (side * 0.6, -1.05), (side * 0.14, -0.6)], colour)
        elif shape == "droopy":
            pen.ellipse(side * 0.54, -0.16, 0.17, 0.4, colour)
        elif shape == "antenna":
            pen.stroke([(side * 0.2, -0.5), (side * 0.36, -0.9)], INK, 0.07)
            pen.ellipse(side * 0.36, -0.96, 0.13, 0.13, colour)


def _draw_animal(pen: Pen, colour: Colour, details: Details, shape: str, belly: Colour, feet: Colour) -> None:
    """Draw the body, arms, feet, ears and head shared by cat, bear, bunny, penguin and frog."""
    if details.wings:
        for side in (-1, 1):
            points = [(0.3, 0.3), (0.98, -0.15), (0.92, 0.3), (0.74, 0.56), (0.3, 0.6)]
            pen.polygon([(side * x, y) for x, y in points], details.wings)
    pen.ellipse(0, 0.5, 0.43, 0.46, details.body or colour)
    pen.ellipse(0, 0.57, 0.25, 0.3, details.belly or belly, outline=False)
    for side in (-1, 1):
        pen.ellipse(side * 0.23, 0.93, 0.18, 0.1, feet)
    for side in (-1, 1):
        pen.ellipse(side * 0.4, 0.44, 0.12, 0.22, colour)
    draw_ears(pen, details.ears or shape, details.ear_colour or colour)
    pen.ellipse(0, -0.22, 0.55, 0.46, colour)
    if details.half:
        pen.sector(0, -0.22, 0.53, 0.44, -90, 90, details.half)
    if details.mask:
        pen.ellipse(0, -0.25, 0.52, 0.16, details.mask, outline=False)


def _draw_marks(pen: Pen, details: Details) -> None:
    """Draw the marks that lie on top of everything else: stripes, spots, star, heart and patch."""
    if details.stripes:
        for y in (0.34, 0.54, 0.74):
            pen.stroke([(-0.36, y), (0.36, y)], details.stripes, 0.1)
    if details.spots:
        for x, y in ((-0.36, -0.42), (0.3, -0.48), (-0.24, 0.36), (0.25, 0.62), (-0.15, 0.78), (0.42, -0.1)):
            pen.ellipse(x, y, 0.09, 0.09, details.spots, outline=False)
    if details.star:
        pen.star(0, -0.52, 0.19, details.star)
    if details.heart:
        pen.heart(0, 0.52, 0.23, details.heart)
    if details.patch:
        pen.rectangle(-0.24, 0.4, 0.06, 0.7, details.patch)


_HEAD_ANCHORS = Anchors(top=(0, -0.62), eyes=(0, -0.26), neck=(0, 0.2))


def cat(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.stroke([(0.3, 0.78), (0.66, 0.66), (0.68, 0.28)], darker(colour), 0.15)
    _draw_animal(pen, colour, details, "pointy", lighter(colour), darker(colour))
    draw_face(pen, 0, -0.26)
    for side in (-1, 1):
        pen.stroke([(side * 0.3, -0.1), (side * 0.68, -0.16)], INK, 0.04)
        pen.stroke([(side * 0.3, -0.03), (side * 0.66, 0.04)], INK, 0.04)
    _draw_marks(pen, details)
    return _HEAD_ANCHORS


def bear(pen: Pen, colour: Colour, details: Details) -> Anchors:
    _draw_animal(pen, colour, details, "round", lighter(colour), darker(colour))
    pen.ellipse(0, -0.04, 0.22, 0.16, lighter(colour, 0.7), outline=False)
    draw_face(pen, 0, -0.26)
    pen.ellipse(0, -0.11, 0.075, 0.05, INK, outline=False)
    _draw_marks(pen, details)
    return _HEAD_ANCHORS


def bunny(pen: Pen, colour: Colour, details: Details) -> Anchors:
    _draw_animal(pen, colour, details, "long", lighter(colour), darker(colour))
    draw_face(pen, 0, -0.26)
    for side in (-1, 1):
        pen.ellipse(side * 0.36, -0.08, 0.09, 0.06, BLUSH, outline=False)
    _draw_marks(pen, details)
    return _HEAD_ANCHORS


def penguin(pen: Pen, colour: Colour, details: Details) -> Anchors:
    for side in (-1, 1):
        pen.ellipse(side * 0.5, 0.42, 0.14, 0.32, darker(colour))
    _draw_animal(pen, colour, details, "none", (250, 250, 250), BEAK)
    pen.ellipse(0, -0.15, 0.42, 0.32, (250, 250, 250), outline=False)
    draw_face(pen, 0, -0.24, mouth=False)
    pen.polygon([(-0.14, -0.12), (0.14, -0.12), (0, 0.06)], BEAK)
    _draw_marks(pen, details)
    return _HEAD_ANCHORS


def frog(pen: Pen, colour: Colour, details: Details) -> Anchors:
    _draw_animal(pen, colour, details, "none", lighter(colour, 0.7), darker(colour))
    for side in (-1, 1):
        pen.ellipse(side * 0.3, -0.56, 0.22, 0.22, colour)
        pen.ellipse(side * 0.3, -0.56, 0.14, 0.14, WHITE, outline=False)
        pen.ellipse(side * 0.3, -0.56, 0.075, 0.09, INK, outline=False)
    pen.stroke([(-0.34, -0.12), (-0.14, 0.0), (0.14, 0.0), (0.34, -0.12)], INK, 0.06)
    _draw_marks(pen, details)
    return Anchors(top=(0, -0.7), eyes=(0, -0.54), neck=(0, 0.2), size=1.1)


def robot(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.stroke([(0, -0.6), (0, -0.88)], INK, 0.08)
    pen.ellipse(0, -0.92, 0.11, 0.11, (250, 215, 50))
    pen.rectangle(-0.44, 0.22, 0.44, 0.86, details.body or darker(colour, 0.85), 0.08)
    pen.rectangle(-0.24, 0.38, 0.24, 0.64, details.belly or lighter(colour), 0.04)
    for side in (-1, 1):
        pen.rectangle(side * 0.46, 0.26, side * 0.64, 0.72, darker(colour), 0.06)
        pen.rectangle(side * 0.12, 0.86, side * 0.34, 1.02, darker(colour), 0.03)
    pen.rectangle(-0.56, -0.64, 0.56, 0.16, colour, 0.12)
    pen.rectangle(-0.43, -0.5, 0.43, 0.02, lighter(colour, 0.8), 0.06, outline=False)
    draw_face(pen, 0, -0.28)
    if details.star:
        pen.star(0, 0.52, 0.2, details.star)
    return _HEAD_ANCHORS


def fish(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.polygon([(-0.5, 0.05), (-1.1, -0.42), (-1.0, 0.05), (-1.1, 0.5)], darker(colour))
    pen.polygon([(-0.25, -0.36), (0.05, -0.8), (0.4, -0.36)], darker(colour))
    pen.ellipse(0.1, 0.05, 0.8, 0.54, colour)
    for x in (-0.3, 0.0):
        pen.stroke([(x, -0.22), (x + 0.12, 0.05), (x, 0.32)], darker(colour, 0.8), 0.07)
    draw_face(pen, 0.5, -0.06)
    return Anchors(top=(0.46, -0.4), eyes=(0.5, -0.06), neck=(0.2, 0.44), size=0.95)


def bird(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.polygon([(-0.4, 0.34), (-1.0, 0.04), (-0.92, 0.5)], darker(colour))
    for x in (-0.12, 0.16):
        pen.stroke([(x, 0.75), (x, 1.0)], BEAK, 0.08)
    pen.ellipse(-0.02, 0.36, 0.58, 0.46, colour)
    pen.ellipse(-0.18, 0.38, 0.32, 0.22, darker(colour), outline=False)
    pen.polygon([(0.62, -0.36), (1.04, -0.16), (0.62, 0.0)], BEAK)
    pen.ellipse(0.3, -0.22, 0.45, 0.42, colour)
    draw_face(pen, 0.36, -0.26, mouth=False)
    return Anchors(top=(0.3, -0.58), eyes=(0.36, -0.26), neck=(0.2, 0.18), size=0.95)


def car(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.polygon([(-0.6, -0.05), (-0.42, -0.58), (0.4, -0.58), (0.66, -0.05)], colour)
    pen.polygon([(-0.44, -0.1), (-0.31, -0.45), (0.3, -0.45), (0.48, -0.1)], (200, 235, 250))
    pen.rectangle(-1.02, -0.1, 1.02, 0.52, colour, 0.16)
    for side in (-1, 1):
        pen.ellipse(side * 0.56, 0.54, 0.27, 0.27, (45, 45, 50))
        pen.ellipse(side * 0.56, 0.54, 0.12, 0.12, (205, 205, 210), outline=False)
        pen.ellipse(side * 0.84, 0.14, 0.09, 0.09, (255, 240, 150), outline=False)
    draw_face(pen, 0, 0.14)
    return Anchors(top=(0, -0.55), eyes=(0, 0.14), neck=(0, 0.48), size=0.95)


def house(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.rectangle(0.34, -0.82, 0.56, -0.25, (120, 90, 90))
    pen.rectangle(-0.68, -0.2, 0.68, 0.92, colour)
    pen.polygon([(-0.95, -0.12), (0, -0.9), (0.95, -0.12)], darker(colour, 0.55))
    pen.rectangle(-0.2, 0.46, 0.2, 0.92, (115, 70, 45), 0.06)
    draw_face(pen, 0, 0.12)
    return Anchors(top=(0, -0.8), eyes=(0, 0.12), neck=(0, 0.44))


def flower(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.stroke([(0, 0.1), (0, 1.02)], (45, 125, 60), 0.14)
    for side in (-1, 1):
        pen.ellipse(side * 0.3, 0.78, 0.28, 0.12, LEAF)
    for k in range(6):
        angle = k * math.pi / 3 + 0.5
        pen.ellipse(0.46 * math.cos(angle), -0.2 + 0.46 * math.sin(angle), 0.3, 0.3, colour)
    pen.ellipse(0, -0.2, 0.4, 0.4, (190, 125, 65) if colour[2] < 90 and colour[1] > 180 else (252, 226, 125))
    draw_face(pen, 0, -0.24)
    return Anchors(top=(0, -0.74), eyes=(0, -0.24), neck=(0, 0.42))


def mushroom(pen: Pen, colour: Colour, details: Details) -> Anchors:
    pen.rectangle(-0.34, -0.1, 0.34, 0.96, (246, 232, 208), 0.16)
    pen.sector(0, 0.08, 0.9, 0.9, 180, 360, colour)
    for x, y, r in ((-0.5, -0.18, 0.14), (0.48, -0.22, 0.16), (0, -0.52, 0.17)):
        pen.ellipse(x, y, r, r, WHITE, outline=False)
    draw_face(pen, 0, 0.32)
    return Anchors(top=(0, -0.78), eyes=(0, 0.32), neck=(0, 0.66), size=0.95)


SPECIES_PAINTERS: dict[str, Callable[[Pen, Colour, Details], Anchors]] = {
    painter.__name__: painter
    for painter in (cat, bear, bunny, robot, fish, bird, penguin, frog, car, house, flower, mushroom)
}
DETAILED_SPECIES = ("cat", "bear", "bunny", "penguin", "frog")
"""Species that can show every detail."""
