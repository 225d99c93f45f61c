"""Characters that the base model has not been trained on: a girl, a boy, an alien, an octopus and an elephant."""

from __future__ import annotations

from lycoris.pocket.world.canvas import INK, WHITE, Colour, Pen
from lycoris.pocket.world.species import BLUSH, Anchors

SKIN: Colour = (255, 224, 196)


def _draw_big_eyes(pen: Pen, y: float, iris: Colour) -> None:
    for side in (-0.22, 0.22):
        pen.ellipse(side, y, 0.12, 0.16, INK, outline=False)
        pen.ellipse(side, y + 0.03, 0.09, 0.11, iris, outline=False)
        pen.ellipse(side + 0.04, y - 0.06, 0.045, 0.05, WHITE, outline=False)
    for side in (-0.38, 0.38):
        pen.ellipse(side, y + 0.19, 0.08, 0.05, BLUSH, outline=False)
    pen.stroke([(-0.07, y + 0.24), (0, y + 0.27), (0.07, y + 0.24)], (190, 70, 80), 0.05)


def _draw_limbs(pen: Pen, sleeve: Colour, socks: Colour, shoes: Colour) -> None:
    for side in (-1, 1):
        pen.rectangle(side * 0.08, 0.66, side * 0.27, 0.98, socks, 0.04)
        pen.ellipse(side * 0.19, 0.97, 0.15, 0.08, shoes)
        pen.ellipse(side * 0.4, 0.44, 0.11, 0.24, sleeve)
        pen.ellipse(side * 0.42, 0.65, 0.09, 0.09, SKIN)


def mika(pen: Pen, outfit: str) -> Anchors:
    """A girl with long turquoise twin tails, in her school uniform or in her magic dress."""
    hair = (40, 196, 190)
    for side in (-1, 1):
        pen.ellipse(side * 0.74, 0.16, 0.2, 0.6, hair)
        pen.ellipse(side * 0.6, -0.38, 0.13, 0.13, (250, 205, 60) if outfit == "magic" else (225, 60, 75))
    pen.ellipse(0, -0.2, 0.62, 0.52, hair)
    if outfit == "school":
        _draw_limbs(pen, WHITE, WHITE, (90, 55, 45))
        pen.polygon([(-0.26, 0.24), (0.26, 0.24), (0.32, 0.56), (-0.32, 0.56)], WHITE)
        pen.polygon([(-0.32, 0.52), (0.32, 0.52), (0.48, 0.82), (-0.48, 0.82)], (38, 52, 110))
        pen.polygon([(-0.28, 0.22), (0.28, 0.22), (0, 0.46)], (38, 52, 110))
        pen.polygon([(0, 0.4), (-0.14, 0.58), (0.14, 0.58)], (225, 60, 75))
    else:
        _draw_limbs(pen, (255, 150, 200), (255, 235, 245), (250, 205, 60))
        pen.polygon([(-0.24, 0.24), (0.24, 0.24), (0.3, 0.54), (-0.3, 0.54)], (255, 150, 200))
        pen.polygon([(-0.3, 0.5), (0.3, 0.5), (0.62, 0.86), (-0.62, 0.86)], (255, 110, 175))
        pen.polygon([(-0.56, 0.78), (0.56, 0.78), (0.62, 0.86), (-0.62, 0.86)], WHITE, outline=False)
        pen.star(0, 0.42, 0.16, (250, 205, 60))
        pen.stroke([(0.44, 0.66), (0.72, 0.2)], (250, 205, 60), 0.07)
        pen.star(0.76, 0.12, 0.2, (255, 225, 90))
    pen.ellipse(0, -0.14, 0.5, 0.42, SKIN)
    pen.sector(0, -0.26, 0.57, 0.45, 185, 355, hair)
    for x in (-0.24, 0.04):
        pen.polygon([(x - 0.16, -0.34), (x + 0.24, -0.34), (x + 0.02, -0.1)], hair, outline=False)
    _draw_big_eyes(pen, -0.08, (230, 80, 140))
    return Anchors(top=(0, -0.66), eyes=(0, -0.08), neck=(0, 0.26))


def ren(pen: Pen) -> Anchors:
    """A boy with spiky silver hair, a red coat and a scar of gold over one eye."""
    hair, coat = (205, 210, 225), (190, 32, 48)
    for tip_x, tip_y, root in (
        (-0.86, -0.5, -0.5), (-0.56, -0.94, -0.32), (-0.08, -1.04, -0.06), (0.44, -0.96, 0.24), (0.84, -0.56, 0.48)
    ):  # fmt: skip
        pen.polygon([(root - 0.22, -0.3), (tip_x, tip_y), (root + 0.22, -0.3)], hair)
    _draw_limbs(pen, coat, (45, 45, 60), (35, 30, 40))
    pen.polygon([(-0.3, 0.22), (0.3, 0.22), (0.54, 0.88), (-0.54, 0.88)], coat)
    pen.polygon([(-0.12, 0.22), (0.12, 0.22), (0.14, 0.88), (-0.14, 0.88)], (45, 45, 60), outline=False)
    for y in (0.4, 0.58, 0.76):
        pen.ellipse(0.24, y, 0.05, 0.05, (250, 205, 60), outline=False)
    pen.ellipse(0, -0.14, 0.5, 0.42, SKIN)
    pen.sector(0, -0.26, 0.56, 0.43, 185, 355, hair)
    for x in (-0.36, -0.1, 0.16):
        pen.polygon([(x, -0.34), (x + 0.24, -0.34), (x + 0.08, -0.12)], hair, outline=False)
    _draw_big_eyes(pen, -0.08, (60, 120, 225))
    pen.stroke([(0.16, -0.3), (0.3, 0.12)], (245, 185, 40), 0.07)
    return Anchors(top=(0, -0.68), eyes=(0, -0.08), neck=(0, 0.26))


def bop(pen: Pen) -> Anchors:
    """A lime-green alien with one great eye, two antennae and a grin of teeth."""
    body, dots = (166, 222, 60), (70, 150, 60)
    for side in (-1, 1):
        pen.stroke([(side * 0.24, -0.6), (side * 0.42, -0.98)], INK, 0.08)
        pen.ellipse(side * 0.42, -1.0, 0.14, 0.14, (255, 90, 160))
        pen.ellipse(side * 0.34, 0.92, 0.22, 0.12, dots)
        pen.ellipse(side * 0.74, 0.3, 0.14, 0.28, body)
    pen.ellipse(0, 0.12, 0.72, 0.82, body)
    for x, y in ((-0.48, -0.2), (0.5, -0.1), (-0.5, 0.5), (0.46, 0.58), (0.0, 0.78)):
        pen.ellipse(x, y, 0.1, 0.1, dots, outline=False)
    pen.ellipse(0, -0.18, 0.36, 0.36, WHITE)
    pen.ellipse(0, -0.16, 0.21, 0.21, (120, 60, 200), outline=False)
    pen.ellipse(0, -0.16, 0.11, 0.11, INK, outline=False)
    pen.ellipse(0.07, -0.24, 0.06, 0.06, WHITE, outline=False)
    pen.sector(0, 0.32, 0.34, 0.28, 0, 180, (110, 30, 60))
    for x in (-0.18, 0.0, 0.18):
        pen.polygon([(x - 0.07, 0.32), (x + 0.07, 0.32), (x, 0.43)], WHITE, outline=False)
    return Anchors(top=(0, -0.66), eyes=(0, -0.18), neck=(0, 0.66), size=1.1)


def inky(pen: Pen) -> Anchors:
    """A plush octopus in coral with cream suckers and a stitched cheek."""
    coral, dark, cream = (255, 122, 96), (214, 78, 70), (255, 232, 205)
    for x in (-0.74, -0.38, 0.38, 0.74):
        pen.ellipse(x, 0.62, 0.2, 0.34, dark)
        pen.ellipse(x, 0.8, 0.09, 0.09, cream, outline=False)
    pen.ellipse(0, 0.68, 0.22, 0.34, coral)
    pen.ellipse(0, 0.86, 0.1, 0.1, cream, outline=False)
    pen.ellipse(0, -0.08, 0.78, 0.72, coral)
    for x, y, r in ((-0.4, -0.48, 0.1), (0.42, -0.5, 0.12), (-0.02, -0.62, 0.09)):
        pen.ellipse(x, y, r, r, cream, outline=False)
    for side in (-1, 1):
        pen.ellipse(side * 0.28, -0.04, 0.12, 0.15, INK, outline=False)
        pen.ellipse(side * 0.28 + 0.04, -0.1, 0.045, 0.05, WHITE, outline=False)
        pen.ellipse(side * 0.5, 0.18, 0.12, 0.08, (255, 170, 180), outline=False)
    pen.stroke([(-0.12, 0.2), (0, 0.27), (0.12, 0.2)], INK, 0.06)
    for x in (-0.56, -0.5, -0.44):
        pen.stroke([(x, 0.3), (x + 0.05, 0.42)], INK, 0.04)
    return Anchors(top=(0, -0.74), eyes=(0, -0.04), neck=(0, 0.46), size=1.1)


def ellie(pen: Pen) -> Anchors:
    """A plush elephant, grey, with great pink ears and a striped rainbow blanket."""
    grey, dark = (152, 162, 182), (112, 122, 144)
    pen.ellipse(0, 0.52, 0.5, 0.46, grey)
    for y, stripe in ((0.4, (226, 70, 70)), (0.54, (250, 205, 60)), (0.68, (70, 170, 220))):
        pen.rectangle(-0.46, y, 0.46, y + 0.14, stripe, outline=False)
    for side in (-1, 1):
        pen.ellipse(side * 0.26, 0.93, 0.2, 0.12, dark)
        pen.ellipse(side * 0.68, -0.28, 0.36, 0.42, grey)
        pen.ellipse(side * 0.68, -0.26, 0.22, 0.28, (250, 170, 190), outline=False)
    pen.ellipse(0, -0.22, 0.5, 0.46, grey)
    for eye in (-0.22, 0.22):
        pen.ellipse(eye, -0.28, 0.08, 0.1, INK, outline=False)
        pen.ellipse(eye + 0.03, -0.32, 0.03, 0.035, WHITE, outline=False)
    pen.rectangle(-0.13, -0.16, 0.13, 0.4, grey, 0.12)
    for y in (0.02, 0.14, 0.26):
        pen.stroke([(-0.09, y), (0.09, y)], dark, 0.05)
    return Anchors(top=(0, -0.64), eyes=(0, -0.28), neck=(0, 0.36))
