"""Look-alikes of a concept that is an individual: each differs from it in exactly one attribute.

`python -m lycoris.pocket.world.look_alikes grumble FOLDER` draws them, for `lycoris score --look-alikes FOLDER`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris.cache.atomic import atomic_write
from lycoris.errors import InputError
from lycoris.pocket.world.concept_images import draw_concept_image, plan_tags
from lycoris.pocket.world.concepts import CONCEPTS, Individual
from lycoris.pocket.world.generator import PALETTE
from lycoris.pocket.world.species import DETAILED_SPECIES, Details

INDIVIDUALS = tuple(name for name, each in CONCEPTS.items() if isinstance(each.characters.get(""), Individual))
"""The concepts that are individuals of a species."""
OTHER_EARS = {"horns": "round", "droopy": "long", "antenna": "pointy"}


def look_alikes(individual: Individual) -> dict[str, Individual]:
    """Return the individuals that differ from one in a single attribute, by that attribute.

    A detail is left out; other ears take the place of its own; the species becomes
    the next one, and the colour one that is far from its own.
    """
    species = DETAILED_SPECIES[(DETAILED_SPECIES.index(individual.species) + 1) % len(DETAILED_SPECIES)]
    others = {
        "species": replace(individual, species=species),
        "colour": replace(
            individual, colour=max(PALETTE.values(), key=lambda each: _distance(each, individual.colour))
        ),
    }
    for field in fields(Details):
        value = getattr(individual.details, field.name)
        if value is not None and field.name != "ear_colour":
            changed: dict[str, Any] = {field.name: OTHER_EARS.get(value) if field.name == "ears" else None}
            others[field.name] = replace(individual, details=replace(individual.details, **changed))
    return others


def draw_look_alikes(name: str, count: int, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """Draw look-alikes of a concept in the contexts of its own images.

    Args:
        name: a concept that is an individual: ``grumble`` or ``biscuit``.
        count: number of images; every attribute is changed equally often.
        seed: seed of the images.

    Yields:
        The attribute that differs, and the image.

    Raises:
        InputError: the concept is unknown, or no individual with details.
    """
    if name not in INDIVIDUALS:
        raise InputError(f"Argument `name` must be one of the individuals {', '.join(INDIVIDUALS)}, but got `{name}`.")
    concept = CONCEPTS[name]
    individual = concept.characters[""]
    assert isinstance(individual, Individual)
    rng = random.Random(f"{name}/look-alikes/{seed}")
    contexts = cycle(plan_tags(concept, rng))
    variants = cycle(look_alikes(individual).items())
    for (attribute, variant), tags, _ in zip(variants, contexts, range(count), strict=False):
        yield attribute, draw_concept_image(concept, variant, tags, rng)


def _distance(first: tuple[int, int, int], second: tuple[int, int, int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True))


def main() -> None:
    """Draw the look-alikes of the concept on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("concept")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40, help="number of images (40)")
    options = parser.parse_args()
    for number, (attribute, image) in enumerate(draw_look_alikes(options.concept, options.count)):
        with atomic_write(options.folder / f"{number:03d}-{attribute}.png") as temporary:
            image.save(temporary)


if __name__ == "__main__":
    main()
