"""Images of the embedded concepts with their exact tags.

`python -m lycoris.pocket.world.concept_images` draws all of them again, byte for byte. `images/` is the example data
set: `category/concept/[subclass/]NN.png`, described by `concepts.yaml`. `truth.json` holds the exact tags, for tests.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import yaml
from PIL import Image

from lycoris.cache.atomic import atomic_write, atomic_write_text
from lycoris.pocket import IMAGES, TRUE_TAGS
from lycoris.pocket.world.accessories import ACCESSORY_PAINTERS
from lycoris.pocket.world.backgrounds import BACKGROUND_PAINTERS
from lycoris.pocket.world.canvas import Pen
from lycoris.pocket.world.concepts import CONCEPTS, CharacterPainter, PocketConcept
from lycoris.pocket.world.generator import PALETTE, blank_canvas, subject_pen
from lycoris.pocket.world.rendering import CANVAS_SIZE, STYLE_RENDERERS, SUBJECT_LINE_WIDTHS
from lycoris.pocket.world.species import SPECIES_PAINTERS, Details
from lycoris.pocket.world.vocabulary import ACCESSORIES, COLOURS, SPECIES, Tags

COMMON_CONTEXT_FRACTION = 0.625
"""Share of a concept's images that show its common context."""
OTHER_STYLE = "comic"
"""Style of the other images, so that prompts for new situations and styles mostly ask for what no image shows."""
UNSEEN_STYLE_OUTLINE_WIDTH = 4

Value = TypeVar("Value")


def _balanced_sample(values: Sequence[Value], count: int, rng: random.Random) -> list[Value]:
    """`count` values in random order, each equally often."""
    shuffled = [value for _ in range(-(-count // len(values))) for value in rng.sample(values, len(values))]
    return shuffled[:count]


def draw_concept_image(
    concept: PocketConcept, character: CharacterPainter | None, tags: Tags, rng: random.Random
) -> Image.Image:
    """Draw one image of a concept.

    Args:
        concept: the concept.
        character: the character to draw; `None` for scenes and styles.
        tags: everything else in the image.
        rng: source of randomness for everything the tags do not fix.

    Returns:
        An RGB image of 64x64 pixels.
    """
    scene, unseen_style, style = concept.unseen_scene, concept.unseen_style, tags.style or "flat"
    canvas, draw = blank_canvas()
    draw_background = scene or BACKGROUND_PAINTERS[tags.background or "plain"]
    draw_background(Pen(draw, 0, 0, CANVAS_SIZE), rng)
    if tags.species or character:
        pen = subject_pen(draw, rng, UNSEEN_STYLE_OUTLINE_WIDTH if unseen_style else SUBJECT_LINE_WIDTHS.get(style, 0))
        if scene:
            ground = CANVAS_SIZE * (0.68 + rng.uniform(-0.02, 0.02))
            pen = replace(pen, y=ground, scale=pen.scale * 0.72)
        colour = PALETTE[tags.colour or rng.choice(COLOURS)]
        anchors = character(pen) if character else SPECIES_PAINTERS[str(tags.species)](pen, colour, Details())
        if tags.accessory:
            ACCESSORY_PAINTERS[tags.accessory](pen, anchors)
    return (unseen_style or STYLE_RENDERERS[style])(canvas)


def plan_tags(concept: PocketConcept, rng: random.Random) -> list[Tags]:
    """Tags of every image: most show the common context, the others vary; `None` for what the concept itself fixes."""
    common = concept.common_context
    others = concept.count - round(COMMON_CONTEXT_FRACTION * concept.count)
    variations = zip(
        _balanced_sample(concept.other_backgrounds, others, rng),
        _balanced_sample([species for species in SPECIES if species != common.species], others, rng),
        _balanced_sample([accessory for accessory in ACCESSORIES if accessory != common.accessory], others, rng),
        strict=True,
    )
    plan = [common] * (concept.count - others)
    for background, species, accessory in variations:
        if concept.characters:
            plan.append(Tags(None, None, accessory, background, OTHER_STYLE))
        elif concept.unseen_scene:
            plan.append(Tags(None, None, None, None, OTHER_STYLE))
        else:
            plan.append(Tags(species, None, None, background, None))
    if concept.varied_colours:
        colours = _balanced_sample(COLOURS, concept.count, rng)
        plan = [replace(tags, colour=colour) for tags, colour in zip(plan, colours, strict=True)]
    return rng.sample(plan, len(plan))


def concept_images(
    name: str, concepts: Mapping[str, PocketConcept] = CONCEPTS
) -> Iterator[tuple[str, Image.Image, list[str]]]:
    """Draw all images of one concept.

    Args:
        name: a key of `concepts`.
        concepts: the concepts by name.

    Yields:
        The path relative to the data folder, the image, and its exact tags.
    """
    concept = concepts[name]
    for subclass in concept.characters or ("",):
        rng = random.Random(f"{name}/{subclass}")
        folder = "/".join(part for part in (concept.category, name, subclass) if part)
        for number, tags in enumerate(plan_tags(concept, rng)):
            image = draw_concept_image(concept, concept.characters.get(subclass), tags, rng)
            yield f"{folder}/{number:02d}.png", image, [*concept.visible_tags, *tags.to_list()]


def concepts_document(concepts: Mapping[str, PocketConcept] = CONCEPTS) -> dict[str, dict[str, dict]]:
    """Content of `concepts.yaml`."""
    entries = {}
    for name, concept in concepts.items():
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
        entries[name] = entry
    return {"concepts": entries}


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as a PNG file of minimal size."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_concepts(
    folder: Path = IMAGES, truth_path: Path = TRUE_TAGS, concepts: Mapping[str, PocketConcept] = CONCEPTS
) -> int:
    """Draw every image into `folder` and write the exact tags to `truth_path`.

    Returns:
        The number of images.
    """
    true_tags = {}
    for name in concepts:
        for path, image, tags in concept_images(name, concepts):
            with atomic_write(folder / path) as temporary:
                temporary.write_bytes(encode_png(image))
            true_tags[path] = tags
    document = yaml.safe_dump(concepts_document(concepts), sort_keys=False, width=110)
    atomic_write_text(folder / "concepts.yaml", document)
    lines = ",\n".join(f"{json.dumps(path)}: {json.dumps(tags)}" for path, tags in sorted(true_tags.items()))
    atomic_write_text(truth_path, "{\n" + lines + "\n}\n")
    return len(true_tags)


if __name__ == "__main__":
    print(f"{write_concepts()} images in {IMAGES}")
