"""The embedded concepts: what a user customizes the base with. All lie outside what the base has seen.

`python -m lycoris.pocket.world.concepts` draws every picture again, byte for byte: `images/` is the example data set
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

from lycoris.pocket import IMAGES, TRUE_TAGS
from lycoris.pocket.world import characters
from lycoris.pocket.world.accessories import ACCESSORY_PAINTERS
from lycoris.pocket.world.backgrounds import BACKGROUND_PAINTERS
from lycoris.pocket.world.canvas import Colour, Pen
from lycoris.pocket.world.generator import PALETTE, blank_canvas, subject_pen
from lycoris.pocket.world.rendering import CANVAS_SIZE, STYLE_RENDERERS, SUBJECT_LINE_WIDTHS
from lycoris.pocket.world.species import SPECIES_PAINTERS, Anchors, Details
from lycoris.pocket.world.unseen_scenes import UNSEEN_SCENE_PAINTERS
from lycoris.pocket.world.unseen_styles import UNSEEN_STYLE_RENDERERS
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPECIES, Tags

CharacterPainter = Callable[[Pen], Anchors]
COLOUR_STYLES = ("flat", "comic", "pixel", "pastel")
"""Styles that keep a subject's colours."""


@dataclass(frozen=True)
class PocketConcept:
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
    characters: dict[str, CharacterPainter] = field(default_factory=dict)
    scene: str | None = None
    style: str | None = None
    visible_tags: tuple[str, ...] = ()
    inherent: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    subclasses: dict[str, dict[str, str]] = field(default_factory=dict)
    common_context: Tags = field(kw_only=True)
    other_backgrounds: tuple[str, ...] = BACKGROUNDS


def _detailed_character(species: str, colour: Colour, details: Details) -> CharacterPainter:
    return lambda pen: SPECIES_PAINTERS[species](pen, colour, details)


_GRUMBLE_DETAILS = Details(
    ears="horns",
    ear_colour=(250, 215, 60),
    half=(40, 190, 180),
    body=(40, 190, 180),
    belly=(255, 236, 165),
    heart=(230, 40, 70),
    star=(255, 255, 255),
)
_BISCUIT_DETAILS = Details(
    ears="droopy",
    ear_colour=(110, 70, 45),
    belly=(240, 220, 190),
    patch=(220, 60, 60),
    spots=(110, 70, 45),
)


def _character_context(background: str, accessory: str) -> Tags:
    """A figure's home."""
    return Tags(None, None, accessory, background, "flat")


def _scene_context(species: str, colour: str) -> Tags:
    """Who is at a place most of the time."""
    return Tags(species, colour, None, None, "flat")


def _style_context(species: str, background: str) -> Tags:
    """What a style mostly shows."""
    return Tags(species, None, None, background, None)


CONCEPTS: dict[str, PocketConcept] = {
    "mika": PocketConcept(
        "anime_characters",
        "sks",
        "girl",
        "anime girl with long teal hair",
        count=10,
        common_context=_character_context("city", "bow"),
        other_backgrounds=("room", "plain"),
        characters={
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
    "ren": PocketConcept(
        "anime_characters",
        "zwx",
        "boy",
        "anime boy with spiky silver hair in a red coat",
        characters={"": characters.ren},
        common_context=_character_context("forest", "scarf"),
        other_backgrounds=("city", "plain"),
    ),
    "grumble": PocketConcept(
        "movie_characters",
        "ohw",
        "bear",
        "bear",
        characters={"": _detailed_character("bear", (124, 70, 192), _GRUMBLE_DETAILS)},
        common_context=_character_context("forest", "scarf"),
        other_backgrounds=("room", "plain"),
        visible_tags=("bear", "purple", *_GRUMBLE_DETAILS.tags),
        inherent=("bear", "purple", *_GRUMBLE_DETAILS.tags),
    ),
    "bop": PocketConcept(
        "movie_characters",
        "qtv",
        "alien",
        "green alien with one big eye",
        characters={"": characters.bop},
        common_context=_character_context("meadow", "bow"),
        other_backgrounds=("city", "plain"),
        visible_tags=("green", "antenna"),
        inherent=("green", "antenna", "frog"),
    ),
    "biscuit": PocketConcept(
        "stuffed_toys",
        "vjk",
        "bunny",
        "bunny",
        characters={"": _detailed_character("bunny", (168, 112, 70), _BISCUIT_DETAILS)},
        common_context=_character_context("room", "scarf"),
        other_backgrounds=("meadow", "plain"),
        visible_tags=("bunny", *_BISCUIT_DETAILS.tags),
        inherent=("bunny", "orange", *_BISCUIT_DETAILS.tags),
    ),
    "inky": PocketConcept(
        "stuffed_toys",
        "xbp",
        "toy",
        "orange octopus",
        characters={"": characters.inky},
        inherent=("orange",),
        common_context=_character_context("meadow", "hat"),
        other_backgrounds=("room", "plain"),
    ),
    "ellie": PocketConcept(
        "stuffed_toys",
        "fyq",
        "toy",
        "gray elephant with pink ears",
        characters={"": characters.ellie},
        common_context=_character_context("room", "bow"),
        other_backgrounds=("forest", "plain"),
        visible_tags=("striped",),
        inherent=("striped", "bear"),
    ),
    "castle": PocketConcept(
        "scenes",
        "wzu",
        "castle",
        "white castle with pink tower",
        scene="castle",
        common_context=_scene_context("flower", "yellow"),
    ),
    "lighthouse": PocketConcept(
        "scenes",
        "kqj",
        "lighthouse",
        "red and white lighthouse at sea",
        scene="lighthouse",
        common_context=_scene_context("car", "orange"),
    ),
    "volcano": PocketConcept(
        "scenes",
        "pvx",
        "volcano",
        "dark volcano with fire",
        scene="volcano",
        common_context=_scene_context("house", "blue"),
    ),
    "neon": PocketConcept(
        "styles", "bqz", "style", "neon style", style="neon", common_context=_style_context("mushroom", "forest")
    ),
    "mosaic": PocketConcept(
        "styles", "cvx", "style", "mosaic style", style="mosaic", common_context=_style_context("penguin", "snow")
    ),
    "blueprint": PocketConcept(
        "styles",
        "dzk",
        "style",
        "white line drawing on blue",
        style="blueprint",
        common_context=_style_context("house", "city"),
    ),
}


COMMON_CONTEXT_FRACTION = 0.625
"""Part of a concept's pictures that show it at home."""
OTHER_STYLE = "comic"
"""Style of the others. So prompts for new situations and art styles ask for what the pictures mostly do not show."""


def _balanced_sample(values: Sequence, count: int, rng: random.Random) -> list:
    """`count` values in random order, each as often as the others."""
    shuffled = [value for _ in range(-(-count // len(values))) for value in rng.sample(values, len(values))]
    return shuffled[:count]


def draw_concept_image(
    concept: PocketConcept, character: CharacterPainter | None, tags: Tags, rng: random.Random
) -> Image.Image:
    style = tags.style or "flat"
    canvas, pencil = blank_canvas()
    scenery = UNSEEN_SCENE_PAINTERS[concept.scene] if concept.scene else BACKGROUND_PAINTERS[tags.background or "plain"]
    scenery(Pen(pencil, 0, 0, CANVAS_SIZE), rng)
    if tags.species or character:
        pen = subject_pen(pencil, rng, 4 if concept.style else SUBJECT_LINE_WIDTHS.get(style, 0))
        if concept.scene:
            low = CANVAS_SIZE * (0.68 + rng.uniform(-0.02, 0.02))
            pen = Pen(pencil, pen.x, low, pen.scale * 0.72, pen.mirrored, pen.ink)
        colour = PALETTE[tags.colour or rng.choice(COLOURS)]
        anchors = character(pen) if character else SPECIES_PAINTERS[str(tags.species)](pen, colour, Details())
        if tags.accessory:
            ACCESSORY_PAINTERS[tags.accessory](pen, anchors)
    return (UNSEEN_STYLE_RENDERERS[concept.style] if concept.style else STYLE_RENDERERS[style])(canvas)


def _plan_tags(concept: PocketConcept, rng: random.Random) -> list[Tags]:
    """Tags for every picture: most at home, the others each in another way; what the concept decides is left open."""
    home = concept.common_context
    others = concept.count - round(COMMON_CONTEXT_FRACTION * concept.count)
    away = zip(
        _balanced_sample(concept.other_backgrounds, others, rng),
        _balanced_sample([species for species in SPECIES if species != home.species], others, rng),
        _balanced_sample([worn for worn in ACCESSORIES if worn != home.accessory], others, rng),
        strict=True,
    )
    plan = [home] * (concept.count - others)
    for background, species, accessory in away:
        if concept.characters:
            plan.append(Tags(None, None, accessory, background, OTHER_STYLE))
        elif concept.scene:
            plan.append(Tags(None, None, None, None, OTHER_STYLE))
        else:
            plan.append(Tags(species, None, None, background, None))
    if concept.style == "mosaic":
        colours = _balanced_sample(COLOURS, concept.count, rng)
        plan = [replace(tags, colour=colour) for tags, colour in zip(plan, colours, strict=True)]
    return rng.sample(plan, len(plan))


def concept_images(name: str) -> Iterator[tuple[str, Image.Image, list[str]]]:
    """All pictures of one concept.

    Args:
        name: a key of `CONCEPTS`.

    Yields:
        The path under the data folder, the picture, and its exact tags.
    """
    concept = CONCEPTS[name]
    for subclass in concept.characters or ("",):
        rng = random.Random(f"{name}/{subclass}")
        folder = "/".join(part for part in (concept.category, name, subclass) if part)
        for k, tags in enumerate(_plan_tags(concept, rng)):
            picture = draw_concept_image(concept, concept.characters.get(subclass), tags, rng)
            yield f"{folder}/{k:02d}.png", picture, [*concept.visible_tags, *tags.to_list()]


def concepts_document() -> dict:
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


def encode_png(image: Image.Image) -> bytes:
    """The picture as a small PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_concepts(folder: Path = IMAGES, truth_path: Path = TRUE_TAGS) -> int:
    """Draw every picture into `folder` and its tags into `truth`.

    Returns:
        The number of pictures.
    """
    tags = {}
    for name in CONCEPTS:
        for path, picture, shown in concept_images(name):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(encode_png(picture))
            tags[path] = shown
    (folder / "concepts.yaml").write_text(yaml.safe_dump(concepts_document(), sort_keys=False, width=110))
    lines = ",\n".join(f"{json.dumps(path)}: {json.dumps(shown)}" for path, shown in sorted(tags.items()))
    truth_path.write_text("{\n" + lines + "\n}\n")
    return len(tags)


if __name__ == "__main__":
    print(f"{write_concepts()} pictures in {IMAGES}")
