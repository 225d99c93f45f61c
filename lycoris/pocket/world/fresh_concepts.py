"""Thirty concepts that no training, tuning or table has used: individuals, places and styles, each with its own seed.

`python -m lycoris.pocket.world.fresh_concepts FOLDER` draws them as a data folder, for the studies
`findings_parameters` and `findings_time`.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

from lycoris.errors import InputError
from lycoris.pocket.world.concept_images import write_concepts
from lycoris.pocket.world.concepts import (
    Individual,
    PocketConcept,
    character_context,
    scene_context,
    style_context,
)
from lycoris.pocket.world.fresh_places import sample_place
from lycoris.pocket.world.fresh_styles import sample_style
from lycoris.pocket.world.generator import PALETTE, sample_details
from lycoris.pocket.world.species import DETAILED_SPECIES
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPARE_TRIGGERS, SPECIES, TRIGGERS

FIRST_SEED = 10_001
"""Smallest seed of a concept; its generator is seeded with the text ``KIND/SEED``, which no other image uses."""
KINDS = ("individual", "place", "style")
MAX_PER_KIND = (len(SPARE_TRIGGERS) + len(TRIGGERS)) // len(KINDS)
_DIFFERENT_ENOUGH = 2
"""Fewest named details of an individual."""


def fresh_concepts(per_kind: int = 10, first_seed: int = FIRST_SEED) -> dict[str, PocketConcept]:
    """Return concepts by name, of each kind those of consecutive seeds; a seed whose description was used is left out.

    Args:
        per_kind: individuals, places and styles, each; at most as many as there are triggers.
        first_seed: seed of the first concept, at least `FIRST_SEED`.

    Raises:
        InputError: an argument is out of its range.
    """
    if not 1 <= per_kind <= MAX_PER_KIND:
        raise InputError(f"Argument `per_kind` must be in [1, {MAX_PER_KIND}], but got {per_kind}.")
    if first_seed < FIRST_SEED:
        raise InputError(f"Argument `first_seed` must be at least {FIRST_SEED}, but got {first_seed}.")
    triggers = iter((*SPARE_TRIGGERS, *TRIGGERS))
    concepts: dict[str, PocketConcept] = {}
    described: set[str] = set()
    for kind in KINDS:
        count, seed = 0, first_seed
        while count < per_kind:
            concept = _CONCEPT_BUILDERS[kind](random.Random(f"{kind}/{seed}"))
            if concept.description not in described:
                described.add(concept.description)
                concepts[f"{kind}{seed}"] = replace(concept, trigger=next(triggers))
                count += 1
            seed += 1
    return concepts


def _individual(rng: random.Random) -> PocketConcept:
    species, colour = rng.choice(DETAILED_SPECIES), rng.choice(COLOURS)
    while len((details := sample_details(rng, diverse=True)).tags) < _DIFFERENT_ENOUGH:
        pass
    background, *others = rng.sample(BACKGROUNDS, 3)
    tags = (species, colour, *details.tags)
    return PocketConcept(
        "movie_characters",
        "",
        species,
        f"{colour} {species}",
        characters={"": Individual(species, PALETTE[colour], details)},
        visible_tags=tags,
        inherent=tags,
        common_context=character_context(background, rng.choice(ACCESSORIES)),
        other_backgrounds=tuple(others),
    )


def _place(rng: random.Random) -> PocketConcept:
    place = sample_place(rng)
    return PocketConcept(
        "scenes",
        "",
        place.landmark,
        f"{place.colour} and {place.top_colour} {place.landmark}",
        unseen_scene=place,
        common_context=scene_context(rng.choice(SPECIES), rng.choice(COLOURS)),
    )


def _style(rng: random.Random) -> PocketConcept:
    style = sample_style(rng)
    return PocketConcept(
        "styles",
        "",
        "style",
        f"{style.colour} {style.technique} style",
        unseen_style=style,
        varied_colours=style.technique == "tiles",
        common_context=style_context(rng.choice(SPECIES), rng.choice(BACKGROUNDS)),
    )


_CONCEPT_BUILDERS = {"individual": _individual, "place": _place, "style": _style}


def main() -> None:
    """Draw fresh concepts into the folder on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-kind", type=int, default=10, help="individuals, places and styles, each (10)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=f"seed of the first concept ({FIRST_SEED})")
    options = parser.parse_args()
    concepts = fresh_concepts(options.per_kind, options.first_seed)
    count = write_concepts(options.folder, options.folder.with_name(f"{options.folder.name}-tags.json"), concepts)
    print(f"{count} images of {len(concepts)} concepts in {options.folder}")


if __name__ == "__main__":
    main()
