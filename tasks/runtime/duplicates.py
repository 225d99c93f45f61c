"""Duplicates among a concept's images, with one hash for each image in the store."""

from __future__ import annotations

from lycoris.cache.keys import source_hash
from lycoris.data.concepts import Concept
from lycoris.data.duplicates import duplicate_notes, perceptual_hash
from lycoris.data.images import IMAGE_SOURCES
from tasks.artifacts import RunContext

HASHES_DIR = "hashes"
HASH_SOURCES = ("data/duplicates.py", *IMAGE_SOURCES)


def find_duplicates(context: RunContext, concept: Concept) -> list[str]:
    """What the user should know about duplicates among the valid images of a concept."""
    from lycoris.captions.taggers.tag_cache import compute_cached

    paths = [image.path for image in concept.images]
    inputs = {"perceptual_hash": source_hash(*HASH_SOURCES)}
    hashes, invalid, _ = compute_cached(
        context.store / HASHES_DIR, inputs, paths, lambda images: [perceptual_hash(image) for image in images]
    )
    valid = [path for path in paths if path not in invalid]
    return duplicate_notes(concept.name, dict(zip(valid, hashes, strict=True)))
