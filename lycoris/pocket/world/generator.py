"""Image generator of the pocket world: every combination of tags can be drawn, and a seed fixes the image.

Twelve species in eight colours, with or without one of four accessories, on eight backgrounds, in five styles: 19,200
combinations. One in ten is held out from all training, so that models are evaluated on combinations they have not seen.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from typing import Any

from PIL import Image, ImageDraw

from lycoris.pocket.world.accessories import ACCESSORY_PAINTERS
from lycoris.pocket.world.backgrounds import BACKGROUND_PAINTERS
from lycoris.pocket.world.canvas import Colour, Pen
from lycoris.pocket.world.rendering import BACKGROUND_LINE_WIDTHS, CANVAS_SIZE, STYLE_RENDERERS, SUBJECT_LINE_WIDTHS
from lycoris.pocket.world.species import DETAILED_SPECIES, SPECIES_PAINTERS, Details, EarShape
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPECIES, STYLES, Tags

PALETTE: dict[str, Colour] = {
    "red": (224, 44, 44),
    "orange": (246, 138, 26),
    "yellow": (250, 214, 46),
    "green": (52, 168, 76),
    "blue": (48, 98, 226),
    "purple": (142, 66, 192),
    "pink": (252, 140, 186),
    "white": (246, 246, 246),
}
_UNNAMED_COLOURS: tuple[Colour, ...] = (
    (40, 190, 180), (110, 70, 45), (240, 220, 190), (250, 215, 60), (60, 60, 70), (230, 40, 70), (255, 255, 255),
    (120, 70, 190), (90, 150, 240), (150, 210, 80),
)  # fmt: skip


def sample_tags(rng: random.Random) -> Tags:
    """Sample every attribute uniformly; the pencil style has no colour."""
    style = rng.choice(STYLES)
    colour = rng.choice(COLOURS)
    return Tags(
        species=rng.choice(SPECIES),
        colour=None if style == "pencil" else colour,
        accessory=rng.choice((None, *ACCESSORIES)),
        background=rng.choice(BACKGROUNDS),
        style=style,
    )


def is_held_out(tags: Tags) -> bool:
    """Whether this combination is held out from training, by a hash of its tags; one in ten is."""
    key = "/".join(str(value) for value in (tags.species, tags.colour, tags.accessory, tags.background, tags.style))
    return zlib.crc32(key.encode()) % 10 == 0


def sample_split_tags(rng: random.Random, held_out: bool = False) -> Tags:
    """Sample tags from the training combinations or from those that are held out."""
    while is_held_out(tags := sample_tags(rng)) != held_out:
        pass
    return tags


def sample_details(rng: random.Random, diverse: bool = False) -> Details:
    """Sample details for one character; only encoders and taggers are trained on characters with details.

    Args:
        rng: source of randomness.
        diverse: one to six marks in any colour, instead of one to three in a few fixed colours.
    """
    marks = ("body", "belly", "half", "mask", "wings", "patch", "heart", "star", "stripes", "spots")
    names = rng.sample(marks, rng.randint(1, 6 if diverse else 3))
    colours: dict[str, Any] = {mark: _random_colour(rng) if diverse else rng.choice(_UNNAMED_COLOURS) for mark in names}
    if rng.random() < 0.6:
        ears: EarShape = rng.choice(("horns", "droopy", "antenna", "pointy", "round", "long"))
        colour = rng.choice((None, *_UNNAMED_COLOURS))
        return Details(ears=ears, ear_colour=_random_colour(rng) if diverse and colour else colour, **colours)
    return Details(**colours)


def _random_colour(rng: random.Random) -> Colour:
    return rng.randrange(20, 256), rng.randrange(20, 256), rng.randrange(20, 256)


def blank_canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A white canvas and its drawing interface."""
    canvas = Image.new("RGB", (CANVAS_SIZE, CANVAS_SIZE), (255, 255, 255))
    return canvas, ImageDraw.Draw(canvas)


def subject_pen(draw: ImageDraw.ImageDraw, rng: random.Random, outline_width: int) -> Pen:
    """A pen for a subject that fills most of the canvas, at a random position and scale, mirrored at random."""
    return Pen(
        draw,
        x=CANVAS_SIZE * (0.5 + rng.uniform(-0.05, 0.05)),
        y=CANVAS_SIZE * (0.565 + rng.uniform(-0.015, 0.015)),
        scale=CANVAS_SIZE * rng.uniform(0.345, 0.385),
        mirrored=rng.random() < 0.5,
        outline_width=outline_width,
    )


def draw_image(
    tags: Tags, rng: random.Random, details: Details | None = None, exact_colour: Colour | None = None
) -> Image.Image:
    """Draw an image from its tags.

    Args:
        tags: attributes; a missing background is `plain`, a missing style `flat`, a missing colour random.
        rng: source of randomness for everything the tags do not fix.
        details: features of the character.
        exact_colour: RGB colour used instead of the one the tags name.

    Returns:
        An RGB image of 64x64 pixels.
    """
    style = tags.style or "flat"
    canvas, draw = blank_canvas()
    background_pen = Pen(draw, 0, 0, CANVAS_SIZE, outline_width=BACKGROUND_LINE_WIDTHS.get(style, 0))
    BACKGROUND_PAINTERS[tags.background or "plain"](background_pen, rng)
    if tags.species:
        pen = subject_pen(draw, rng, SUBJECT_LINE_WIDTHS.get(style, 0))
        colour = exact_colour or PALETTE[tags.colour or rng.choice(COLOURS)]
        anchors = SPECIES_PAINTERS[tags.species](pen, colour, details or Details())
        if tags.accessory:
            ACCESSORY_PAINTERS[tags.accessory](pen, anchors)
    return STYLE_RENDERERS[style](canvas)


def sample_image(
    seed: int, held_out: bool = False, detailed_fraction: float = 0.0, diverse: bool = False
) -> tuple[Image.Image, Tags, list[str]]:
    """Sample an image; the same arguments always give the same image.

    Args:
        seed: seed of the image.
        held_out: sample from the combinations held out from training.
        detailed_fraction: share of images that show a character with details, in [0, 1].
        diverse: as in `sample_details`; named colours also vary in shade.

    Returns:
        The image, its tags, and the tags of its details.
    """
    rng = random.Random(seed)
    tags = sample_split_tags(rng, held_out)
    details, exact_colour = None, None
    if rng.random() < detailed_fraction:
        while tags.species not in DETAILED_SPECIES:
            tags = sample_split_tags(rng, held_out)
        details = sample_details(rng, diverse)
        if rng.random() < 0.3:
            exact_colour = rng.choice(_UNNAMED_COLOURS)
            tags = replace(tags, colour=None)
        elif diverse and tags.colour:
            red, green, blue = (min(255, max(0, value + rng.randint(-24, 24))) for value in PALETTE[tags.colour])
            exact_colour = (red, green, blue)
    return draw_image(tags, rng, details, exact_colour), tags, details.tags if details else []
