"""The drawn world: any combination of its tags is a picture, and the same seed is always the same picture.

Twelve species in eight colours, with or without an accessory, in front of eight backgrounds, in five styles:
19,200 combinations, of which one in ten is never shown to a model, so that following a prompt is not remembering
one.
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
    """Any combination of tags, each attribute uniform; a pencil drawing has no colour to speak of."""
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
    """Whether this combination is kept from every training, one in ten."""
    key = "/".join(str(value) for value in (tags.species, tags.colour, tags.accessory, tags.background, tags.style))
    return zlib.crc32(key.encode()) % 10 == 0


def sample_split_tags(rng: random.Random, held_out: bool = False) -> Tags:
    """Tags from the seen or from the unseen combinations."""
    while is_held_out(tags := sample_tags(rng)) != held_out:
        pass
    return tags


def sample_details(rng: random.Random, diverse: bool = False) -> Details:
    """Details of an individual that the base never sees; encoders and taggers do.

    Args:
        rng: decides.
        free: one to six marks and ears in any colours, instead of one to three and ears in a few.
    """
    marks = ("body", "belly", "half", "mask", "wings", "patch", "heart", "star", "stripes", "spots")
    names = rng.sample(marks, rng.randint(1, 6 if diverse else 3))
    chosen: dict[str, Any] = {mark: _random_colour(rng) if diverse else rng.choice(_UNNAMED_COLOURS) for mark in names}
    if rng.random() < 0.6:
        ears: EarShape = rng.choice(("horns", "droopy", "antenna", "pointy", "round", "long"))
        colour = rng.choice((None, *_UNNAMED_COLOURS))
        return Details(ears=ears, ear_colour=_random_colour(rng) if diverse and colour else colour, **chosen)
    return Details(**chosen)


def _random_colour(rng: random.Random) -> Colour:
    return rng.randrange(20, 256), rng.randrange(20, 256), rng.randrange(20, 256)


def blank_canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty canvas and what draws on it."""
    canvas = Image.new("RGB", (CANVAS_SIZE, CANVAS_SIZE), (255, 255, 255))
    return canvas, ImageDraw.Draw(canvas)


def subject_pen(draw: ImageDraw.ImageDraw, rng: random.Random, ink: int) -> Pen:
    """A pen for a subject that fills most of the picture, at a random place, size and side."""
    return Pen(
        draw,
        x=CANVAS_SIZE * (0.5 + rng.uniform(-0.05, 0.05)),
        y=CANVAS_SIZE * (0.565 + rng.uniform(-0.015, 0.015)),
        scale=CANVAS_SIZE * rng.uniform(0.345, 0.385),
        mirrored=rng.random() < 0.5,
        ink=ink,
    )


def draw_image(
    tags: Tags, rng: random.Random, details: Details | None = None, exact_colour: Colour | None = None
) -> Image.Image:
    """Draw what the tags say.

    Args:
        tags: species, background and style must be given; a missing colour is drawn at random.
        rng: decides everything that the tags leave open.
        details: what sets an individual apart.
        paint: a colour that no tag names.

    Returns:
        An RGB picture of 64x64 pixels.
    """
    style = tags.style or "flat"
    canvas, pencil = blank_canvas()
    BACKGROUND_PAINTERS[tags.background or "plain"](
        Pen(pencil, 0, 0, CANVAS_SIZE, ink=BACKGROUND_LINE_WIDTHS.get(style, 0)), rng
    )
    if tags.species:
        pen = subject_pen(pencil, rng, SUBJECT_LINE_WIDTHS.get(style, 0))
        colour = exact_colour or PALETTE[tags.colour or rng.choice(COLOURS)]
        anchors = SPECIES_PAINTERS[tags.species](pen, colour, details or Details())
        if tags.accessory:
            ACCESSORY_PAINTERS[tags.accessory](pen, anchors)
    return STYLE_RENDERERS[style](canvas)


def sample_image(
    seed: int, held_out: bool = False, detailed_fraction: float = 0.0, diverse: bool = False
) -> tuple[Image.Image, Tags, list[str]]:
    """The picture of a seed.

    Args:
        seed: any number; the same number is the same picture.
        unseen: draw from the combinations that training never shows.
        individuals: share of pictures that show an individual with details.
        free: as for `sample_details`; shades of the colours differ, too.

    Returns:
        The picture, its tags, and the words for its details (empty for most).
    """
    rng = random.Random(seed)
    tags = sample_split_tags(rng, held_out)
    details, paint = None, None
    if rng.random() < detailed_fraction:
        while tags.species not in DETAILED_SPECIES:
            tags = sample_split_tags(rng, held_out)
        details = sample_details(rng, diverse)
        if rng.random() < 0.3:
            paint = rng.choice(_UNNAMED_COLOURS)
            tags = replace(tags, colour=None)
        elif diverse and tags.colour:
            red, green, blue = (min(255, max(0, value + rng.randint(-24, 24))) for value in PALETTE[tags.colour])
            paint = (red, green, blue)
    return draw_image(tags, rng, details, paint), tags, details.tags if details else []
