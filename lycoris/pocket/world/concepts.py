"""The embedded concepts: what a user customizes the base with. All lie outside what the base has seen.

`python -m lycoris.pocket.world.concepts` draws every picture again, byte for byte: `pictures/` is the example data set
(category/class/[subclass/]NN.png, described by `concepts.yaml`), `truth.json` the exact tags, for tests only.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from PIL import Image

from lycoris.pocket import PICTURES, TRUTH
from lycoris.pocket.world import characters
from lycoris.pocket.world.accessories import WARDROBE
from lycoris.pocket.world.backgrounds import SCENERY
from lycoris.pocket.world.canvas import Colour, Pen
from lycoris.pocket.world.generator import PAINT, blank, subject_pen
from lycoris.pocket.world.rendering import CANVAS, FINISHES, SUBJECT_INK
from lycoris.pocket.world.species import DRAWINGS, Anchors, Details
from lycoris.pocket.world.unseen_scenes import PLACES
from lycoris.pocket.world.unseen_styles import LOOKS
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPECIES, Tags

Figure = Callable[[Pen], Anchors]
INKED_STYLES = ("flat", "comic", "pixel", "pastel")
"""Styles that keep a subject's colours."""


@dataclass(frozen=True)
class Concept:
    """One class of pictures.

    Args:
        category: one of the paper's five.
        trigger: the rare token that stands for it.
        noun: what the trigger is put before.
        description: words that CLIP knows in place of trigger and noun.
        count: pictures (of each subclass).
        figures: subject by subclass ("" where there is none); empty for places and looks.
        place: a scene in place of the known backgrounds.
        look: a style in place of the known ones.
        shows: details that every picture shows, in a tagger's words.
        inherent: tags that belong to the concept, to be absorbed by its trigger.
        keep: tags that must stay in a caption although every picture may show them.
        subclasses: of each subclass, the words that follow trigger and noun, and a description of the whole.
        home: what most of the pictures show besides, all of it together, since people take theirs in one place: what no
            caption says, the trigger may come to mean.
        away: backgrounds of a figure's or a style's other pictures.
    """

    category: str
    trigger: str
    noun: str
    description: str
    count: int = 16
    figures: dict[str, Figure] = field(default_factory=dict)
    place: str | None = None
    look: str | None = None
    shows: tuple[str, ...] = ()
    inherent: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    subclasses: dict[str, dict[str, str]] = field(default_factory=dict)
    home: Tags = field(kw_only=True)
    away: tuple[str, ...] = BACKGROUNDS


def _individual(species: str, colour: Colour, details: Details) -> Figure:
    return lambda pen: DRAWINGS[species](pen, colour, details)


_GRUMBLE = Details(
    ears="horns",
    ear_colour=(250, 215, 60),
    half=(40, 190, 180),
    body=(40, 190, 180),
    belly=(255, 236, 165),
    heart=(230, 40, 70),
    star=(255, 255, 255),
)
_BISCUIT = Details(
    ears="droopy",
    ear_colour=(110, 70, 45),
    belly=(240, 220, 190),
    patch=(220, 60, 60),
    spots=(110, 70, 45),
)


def _at(background: str, accessory: str) -> Tags:
    """A figure's home."""
    return Tags(None, None, accessory, background, "flat")


def _with(species: str, colour: str) -> Tags:
    """Who is at a place most of the time."""
    return Tags(species, colour, None, None, "flat")


def _of(species: str, background: str) -> Tags:
    """What a style mostly shows."""
    return Tags(species, None, None, background, None)


CONCEPTS: dict[str, Concept] = {
    "mika": Concept(
        "anime_characters",
        "sks",
        "girl",
        "anime girl with long teal hair",
        count=10,
        home=_at("city", "bow"),
        away=("room", "plain"),
        figures={
            "school": lambda pen: characters.mika(pen, "school"),
            "magic": lambda pen: characters.mika(pen, "magic"),
        },
        subclasses={
            "school": {
                "trigger": "school uniform",
                "description": "anime girl with long teal hair in a blue school uniform",
            },
            "magic": {
                "trigger": "magic dress",
                "description": "anime girl with long teal hair in a pink dress with a star",
            },
        },
    ),
    "ren": Concept(
        "anime_characters",
        "zwx",
        "boy",
        "anime boy with spiky silver hair in a red coat",
        figures={"": characters.ren},
        home=_at("forest", "scarf"),
        away=("city", "plain"),
    ),
    "grumble": Concept(
        "movie_characters",
        "ohw",
        "bear",
        "bear",
        figures={"": _individual("bear", (124, 70, 192), _GRUMBLE)},
        home=_at("forest", "scarf"),
        away=("room", "plain"),
        shows=("bear", "purple", *_GRUMBLE.kinds),
        inherent=("bear", "purple", *_GRUMBLE.kinds),
    ),
    "bop": Concept(
        "movie_characters",
        "qtv",
        "alien",
        "green alien with one big eye",
        figures={"": characters.bop},
        home=_at("meadow", "bow"),
        away=("city", "plain"),
        shows=("green", "antenna"),
        inherent=("green", "antenna", "frog"),
    ),
    "biscuit": Concept(
        "stuffed_toys",
        "vjk",
        "bunny",
        "bunny",
        figures={"": _individual("bunny", (168, 112, 70), _BISCUIT)},
        home=_at("room", "scarf"),
        away=("meadow", "plain"),
        shows=("bunny", *_BISCUIT.kinds),
        inherent=("bunny", "orange", *_BISCUIT.kinds),
    ),
    "inky": Concept(
        "stuffed_toys",
        "xbp",
        "toy",
        "orange octopus",
        figures={"": characters.inky},
        inherent=("orange",),
        home=_at("meadow", "hat"),
        away=("room", "plain"),
    ),
    "ellie": Concept(
        "stuffed_toys",
        "fyq",
        "toy",
        "gray elephant with pink ears",
        figures={"": characters.ellie},
        home=_at("room", "bow"),
        away=("forest", "plain"),
        shows=("striped",),
        inherent=("striped", "bear"),
    ),
    "castle": Concept(
        "scenes",
        "wzu",
        "castle",
        "white castle with pink tower",
        place="castle",
        home=_with("flower", "yellow"),
    ),
    "lighthouse": Concept(
        "scenes",
        "kqj",
        "lighthouse",
        "red and white lighthouse at sea",
        place="lighthouse",
        home=_with("car", "orange"),
    ),
    "volcano": Concept(
        "scenes",
        "pvx",
        "volcano",
        "dark volcano with fire",
        place="volcano",
        home=_with("house", "blue"),
    ),
    "neon": Concept("styles", "bqz", "style", "neon style", look="neon", home=_of("mushroom", "forest")),
    "mosaic": Concept("styles", "cvx", "style", "mosaic style", look="mosaic", home=_of("penguin", "snow")),
    "blueprint": Concept(
        "styles",
        "dzk",
        "style",
        "white line drawing on blue",
        look="blueprint",
        home=_of("house", "city"),
    ),
}


HOME = 0.625
"""Part of a concept's pictures that show it at home."""
AWAY_STYLE = "comic"
"""Style of the others. So prompts for new situations and art styles ask for what the pictures mostly do not show."""


def _balanced(values: Sequence, count: int, rng: random.Random) -> list:
    """`count` values in random order, each as often as the others."""
    shuffled = [value for _ in range(-(-count // len(values))) for value in rng.sample(values, len(values))]
    return shuffled[:count]


def compose(concept: Concept, figure: Figure | None, tags: Tags, rng: random.Random) -> Image.Image:
    style = tags.style or "flat"
    canvas, pencil = blank()
    scenery = PLACES[concept.place] if concept.place else SCENERY[tags.background or "plain"]
    scenery(Pen(pencil, 0, 0, CANVAS), rng)
    if tags.species or figure:
        pen = subject_pen(pencil, rng, 4 if concept.look else SUBJECT_INK.get(style, 0))
        if concept.place:
            low = CANVAS * (0.68 + rng.uniform(-0.02, 0.02))
            pen = Pen(pencil, pen.x, low, pen.scale * 0.72, pen.mirrored, pen.ink)
        colour = PAINT[tags.colour or rng.choice(COLOURS)]
        anchors = figure(pen) if figure else DRAWINGS[str(tags.species)](pen, colour, Details())
        if tags.accessory:
            WARDROBE[tags.accessory](pen, anchors)
    return (LOOKS[concept.look] if concept.look else FINISHES[style])(canvas)


def _plan(concept: Concept, rng: random.Random) -> list[Tags]:
    """Tags for every picture: most at home, the others each in another way; what the concept decides is left open."""
    home = concept.home
    others = concept.count - round(HOME * concept.count)
    away = zip(
        _balanced(concept.away, others, rng),
        _balanced([species for species in SPECIES if species != home.species], others, rng),
        _balanced([worn for worn in ACCESSORIES if worn != home.accessory], others, rng),
        strict=True,
    )
    plan = [home] * (concept.count - others)
    for background, species, accessory in away:
        if concept.figures:
            plan.append(Tags(None, None, accessory, background, AWAY_STYLE))
        elif concept.place:
            plan.append(Tags(None, None, None, None, AWAY_STYLE))
        else:
            plan.append(Tags(species, None, None, background, None))
    if concept.look == "mosaic":
        colours = _balanced(COLOURS, concept.count, rng)
        plan = [replace(tags, colour=colour) for tags, colour in zip(plan, colours, strict=True)]
    return rng.sample(plan, len(plan))


def pictures(name: str) -> Iterator[tuple[str, Image.Image, list[str]]]:
    """All pictures of one concept.

    Args:
        name: a key of `CONCEPTS`.

    Yields:
        The path under the data folder, the picture, and its exact tags.
    """
    concept = CONCEPTS[name]
    for subclass in concept.figures or ("",):
        rng = random.Random(f"{name}/{subclass}")
        folder = "/".join(part for part in (concept.category, name, subclass) if part)
        for k, tags in enumerate(_plan(concept, rng)):
            picture = compose(concept, concept.figures.get(subclass), tags, rng)
            yield f"{folder}/{k:02d}.png", picture, [*concept.shows, *tags.listed()]


def described() -> dict:
    """The content of `concepts.yaml`."""
    concepts = {}
    for name, concept in CONCEPTS.items():
        entry: dict = {
            "category": concept.category,
            "trigger": concept.trigger,
            "class_noun": concept.noun,
            "description": concept.description,
        }
        entry |= {"inherent": list(concept.inherent)} if concept.inherent else {}
        entry |= {"keep": list(concept.keep)} if concept.keep else {}
        if concept.subclasses:
            entry["subclasses"] = concept.subclasses
        concepts[name] = entry
    return {"concepts": concepts}


def png(picture: Image.Image) -> bytes:
    """The picture as a small PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write(folder: Path = PICTURES, truth: Path = TRUTH) -> int:
    """Draw every picture into `folder` and its tags into `truth`.

    Returns:
        The number of pictures.
    """
    tags = {}
    for name in CONCEPTS:
        for path, picture, shown in pictures(name):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(png(picture))
            tags[path] = shown
    (folder / "concepts.yaml").write_text(yaml.safe_dump(described(), sort_keys=False, width=110))
    lines = ",\n".join(f"{json.dumps(path)}: {json.dumps(shown)}" for path, shown in sorted(tags.items()))
    truth.write_text("{\n" + lines + "\n}\n")
    return len(tags)


if __name__ == "__main__":
    print(f"{write()} pictures in {PICTURES}")
