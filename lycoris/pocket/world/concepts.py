"""The embedded concepts, which users customize the base model with; the base has been trained on none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lycoris.pocket.world import characters
from lycoris.pocket.world.backgrounds import BackgroundPainter
from lycoris.pocket.world.canvas import Colour, Pen
from lycoris.pocket.world.rendering import StyleRenderer
from lycoris.pocket.world.species import SPECIES_PAINTERS, Anchors, Details
from lycoris.pocket.world.unseen_scenes import castle, lighthouse, volcano
from lycoris.pocket.world.unseen_styles import blueprint, mosaic, neon
from lycoris.pocket.world.vocabulary import BACKGROUNDS, Tags

CharacterPainter = Callable[[Pen], Anchors]
COLOUR_STYLES = ("flat", "comic", "pixel", "pastel")
"""Styles that keep a subject's colours."""


@dataclass(frozen=True)
class PocketConcept:
    """One embedded concept.

    Args:
        category: one of the five categories of the paper.
        trigger: rare token that stands for the concept.
        noun: class noun that follows the trigger.
        description: words that CLIP knows, used in place of trigger and noun.
        count: number of images, per subclass.
        characters: character by subclass ("" without subclasses); empty for scenes and styles.
        unseen_scene: painter of the scene that takes the place of a known background.
        unseen_style: renderer of the style that takes the place of a known style.
        varied_colours: whether a style's subjects have every colour equally often, instead of random ones.
        visible_tags: tags of the details that every image shows.
        inherent: tags that belong to the concept and that its trigger absorbs.
        keep: tags that stay in captions although every image may show them.
        subclasses: by subclass, the words that follow trigger and noun, and a description of the whole.
        common_context: what most images show besides the concept, always together, since people photograph a subject
            in one place: a trigger may learn everything that no caption mentions.
        other_backgrounds: backgrounds of the other images of a character or style.
    """

    category: str
    trigger: str
    noun: str
    description: str
    count: int = 16
    characters: dict[str, CharacterPainter] = field(default_factory=dict)
    unseen_scene: BackgroundPainter | None = None
    unseen_style: StyleRenderer | None = None
    varied_colours: bool = False
    visible_tags: tuple[str, ...] = ()
    inherent: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    subclasses: dict[str, dict[str, str]] = field(default_factory=dict)
    common_context: Tags = field(kw_only=True)
    other_backgrounds: tuple[str, ...] = BACKGROUNDS


@dataclass(frozen=True)
class Individual:
    """A character that is one of a species, by its colour and details; called with a pen it draws itself."""

    species: str
    colour: Colour
    details: Details

    def __call__(self, pen: Pen) -> Anchors:
        return SPECIES_PAINTERS[self.species](pen, self.colour, self.details)


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


def character_context(background: str, accessory: str) -> Tags:
    """Background and accessory of most images of a character."""
    return Tags(None, None, accessory, background, "flat")


def scene_context(species: str, colour: str) -> Tags:
    """Subject of most images of a scene."""
    return Tags(species, colour, None, None, "flat")


def style_context(species: str, background: str) -> Tags:
    """Subject and background of most images of a style."""
    return Tags(species, None, None, background, None)


CONCEPTS: dict[str, PocketConcept] = {
    "mika": PocketConcept(
        "anime_characters",
        "sks",
        "girl",
        "anime girl with long teal hair",
        count=10,
        common_context=character_context("city", "bow"),
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
        common_context=character_context("forest", "scarf"),
        other_backgrounds=("city", "plain"),
    ),
    "grumble": PocketConcept(
        "movie_characters",
        "ohw",
        "bear",
        "bear",
        characters={"": Individual("bear", (124, 70, 192), _GRUMBLE_DETAILS)},
        common_context=character_context("forest", "scarf"),
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
        common_context=character_context("meadow", "bow"),
        other_backgrounds=("city", "plain"),
        visible_tags=("green", "antenna"),
        inherent=("green", "antenna", "frog"),
    ),
    "biscuit": PocketConcept(
        "stuffed_toys",
        "vjk",
        "bunny",
        "bunny",
        characters={"": Individual("bunny", (168, 112, 70), _BISCUIT_DETAILS)},
        common_context=character_context("room", "scarf"),
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
        common_context=character_context("meadow", "hat"),
        other_backgrounds=("room", "plain"),
    ),
    "ellie": PocketConcept(
        "stuffed_toys",
        "fyq",
        "toy",
        "gray elephant with pink ears",
        characters={"": characters.ellie},
        common_context=character_context("room", "bow"),
        other_backgrounds=("forest", "plain"),
        visible_tags=("striped",),
        inherent=("striped", "bear"),
    ),
    "castle": PocketConcept(
        "scenes",
        "wzu",
        "castle",
        "white castle with pink tower",
        unseen_scene=castle,
        common_context=scene_context("flower", "yellow"),
    ),
    "lighthouse": PocketConcept(
        "scenes",
        "kqj",
        "lighthouse",
        "red and white lighthouse at sea",
        unseen_scene=lighthouse,
        common_context=scene_context("car", "orange"),
    ),
    "volcano": PocketConcept(
        "scenes",
        "pvx",
        "volcano",
        "dark volcano with fire",
        unseen_scene=volcano,
        common_context=scene_context("house", "blue"),
    ),
    "neon": PocketConcept(
        "styles", "bqz", "style", "neon style", unseen_style=neon, common_context=style_context("mushroom", "forest")
    ),
    "mosaic": PocketConcept(
        "styles",
        "cvx",
        "style",
        "mosaic style",
        unseen_style=mosaic,
        varied_colours=True,
        common_context=style_context("penguin", "snow"),
    ),
    "blueprint": PocketConcept(
        "styles",
        "dzk",
        "style",
        "white line drawing on blue",
        unseen_style=blueprint,
        common_context=style_context("house", "city"),
    ),
}
