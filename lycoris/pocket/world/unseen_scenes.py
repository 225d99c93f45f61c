"""Scenes that the base model has not been trained on: a castle at dusk, a lighthouse at sea, a volcano at night."""

from __future__ import annotations

import random

from lycoris.pocket.world.backgrounds import draw_horizon
from lycoris.pocket.world.canvas import WHITE, Pen


def castle(pen: Pen, rng: random.Random) -> None:
    """White towers with pink roofs on a violet hill."""
    draw_horizon(pen, (255, 192, 150), (150, 120, 172), 0.72)
    x = 0.5 + rng.uniform(-0.08, 0.08)
    pen.ellipse(0.16 if x > 0.5 else 0.84, 0.18, 0.1, 0.1, (255, 240, 190))
    pen.ellipse(x, 0.86, 0.66, 0.36, (112, 88, 152))
    wall = (238, 228, 248)
    pen.rectangle(x - 0.2, 0.38, x + 0.2, 0.66, wall)
    for offset, half, top in ((-0.24, 0.075, 0.34), (0.24, 0.075, 0.34), (0.0, 0.1, 0.24)):
        left, right = x + offset - half, x + offset + half
        pen.rectangle(left, top, right, 0.68, wall)
        pen.polygon([(left - 0.03, top), (x + offset, top - 0.19), (right + 0.03, top)], (226, 56, 112))
        pen.rectangle(x + offset - 0.025, top + 0.08, x + offset + 0.025, top + 0.17, (76, 56, 116), outline=False)
    pen.ellipse(x, 0.66, 0.06, 0.1, (76, 56, 116))


def lighthouse(pen: Pen, rng: random.Random) -> None:
    """A striped lighthouse whose beam crosses a stormy sea."""
    draw_horizon(pen, (62, 84, 128), (28, 92, 120), 0.66)
    x = rng.choice((0.24, 0.76)) + rng.uniform(-0.04, 0.04)
    beam_end = 1.2 if x < 0.5 else -0.2
    pen.polygon([(x, 0.2), (beam_end, 0.02), (beam_end, 0.34)], (252, 238, 170), outline=False)
    for row, y in enumerate((0.74, 0.84, 0.93)):
        for k in range(4):
            left = (k * 0.3 + row * 0.13 + rng.uniform(-0.03, 0.03)) % 1.2 - 0.1
            pen.stroke([(left, y), (left + 0.06, y - 0.025), (left + 0.12, y)], (150, 205, 220), 0.016)
    pen.ellipse(x, 0.78, 0.26, 0.13, (92, 82, 86))
    pen.polygon([(x - 0.075, 0.28), (x + 0.075, 0.28), (x + 0.115, 0.74), (x - 0.115, 0.74)], WHITE)
    for top, wide in ((0.36, 0.083), (0.52, 0.096), (0.66, 0.108)):
        pen.rectangle(x - wide, top, x + wide, top + 0.075, (216, 52, 52), outline=False)
    pen.rectangle(x - 0.09, 0.25, x + 0.09, 0.285, (50, 46, 56))
    pen.rectangle(x - 0.055, 0.15, x + 0.055, 0.25, (255, 226, 96))
    pen.polygon([(x - 0.085, 0.155), (x, 0.06), (x + 0.085, 0.155)], (216, 52, 52))


def volcano(pen: Pen, rng: random.Random) -> None:
    """A black volcano with rivers of fire under a red sky."""
    draw_horizon(pen, (122, 34, 62), (46, 30, 44), 0.74)
    x = 0.5 + rng.uniform(-0.1, 0.1)
    for dx, y, r in ((-0.1, 0.1, 0.12), (0.06, 0.06, 0.14), (0.18, 0.13, 0.1)):
        pen.ellipse(x + dx, y, r, r * 0.75, (86, 58, 74))
    pen.polygon([(x - 0.55, 0.78), (x - 0.12, 0.26), (x + 0.12, 0.26), (x + 0.55, 0.78)], (64, 46, 54))
    pen.ellipse(x, 0.265, 0.125, 0.045, (255, 196, 60))
    lava = (255, 106, 34)
    pen.stroke([(x - 0.05, 0.28), (x - 0.1, 0.45), (x - 0.04, 0.58), (x - 0.16, 0.78)], lava, 0.05)
    pen.stroke([(x + 0.07, 0.28), (x + 0.13, 0.5), (x + 0.28, 0.78)], lava, 0.045)
    pen.rectangle(-0.1, 0.9, 1.1, 1.1, (255, 130, 40))
    for _ in range(5):
        pen.ellipse(x + rng.uniform(-0.3, 0.3), rng.uniform(0.14, 0.34), 0.018, 0.018, (255, 200, 70), outline=False)
