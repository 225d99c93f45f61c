"""Tag every picture once, and turn tags into captions and prompts under each strategy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.store import code_version, file_digest
from tasks import compute, progress
from tasks.records import Captioned, Place
from tasks.stages import stage

TAGS = "tags.json"
CODE = ("captions", "images.py")


@task(name="captions")
def captions(
    place: Place,
    *,
    data: Path,
    concepts_file: Path | None,
    names: Sequence[str] | None,
    tagger: tuple[str, str],
    base: str,
    strategies: Sequence[str],
    counts: Mapping[str, int],
    seed: int,
) -> list[Captioned]:
    """Caption the chosen concepts under each strategy and write the prompts that follow.

    Args:
        place: where tags are kept.
        data: the folder of pictures.
        concepts_file: None for the one in the folder.
        names: the concepts to caption; None for all. The tags of the others say what is common.
        tagger: its source and the digest of its files.
        base: the base's source, whose tokenizer the triggers are held against.
        strategies: of `lycoris.captions.STRATEGIES`.
        counts: prompt type -> how many prompts.
        seed: of the first prompt of each type.

    Returns:
        One record a chosen concept.
    """
    compute.prepare(place)
    from lycoris.captions import caption, default_templates, inherent_tags, prompts
    from lycoris.concepts import concept_digest, read_concepts

    everything = read_concepts(
        data,
        concepts_file,
        tokenizer=compute.tokenizer(base),
        notice=lambda text: progress.note(place.progress, text),
    )
    templates = default_templates(base)
    chosen = everything if names is None else read_concepts(data, concepts_file, names=names)
    digests = {concept.name: concept_digest(concept) for concept in everything}
    tags, cached = {}, {}
    for concept in everything:
        tags[concept.name], cached[concept.name] = _tags(place, tagger, concept, digests[concept.name])
    records = []
    for concept in chosen:
        others = [tags[other.name] for other in everything if other.name != concept.name]
        inherent = inherent_tags(concept, tags[concept.name], others)
        texts = {name: tuple(caption(concept, tags[concept.name], inherent, name, templates)) for name in strategies}
        asked = {
            name: {
                kind: tuple(asdict(p) for p in prompts(concept, texts[name], kind, count, seed, templates))
                for kind, count in counts.items()
                if count
            }
            for name in strategies
        }
        records.append(
            Captioned(
                name=concept.name,
                category=concept.category,
                trigger=concept.trigger,
                class_noun=concept.class_noun,
                description=concept.description,
                digest=digests[concept.name],
                pictures=tuple(picture.path for picture in concept.pictures),
                captions=texts,
                prompts=asked,
                inherent=tuple(asdict(entry) for entry in inherent),
                cached=cached[concept.name],
            )
        )
    return records


def _tags(place: Place, tagger: tuple[str, str], concept: Any, digest: str) -> tuple[list[dict[str, float]], bool]:
    """One picture's tags after another, and whether they were known."""
    inputs = {"pictures": digest, "tagger": list(tagger), "code": code_version(*CODE)}
    if tagger[0] == "sidecar":
        texts = [picture.path.with_suffix(".txt") for picture in concept.pictures]
        inputs["sidecars"] = [file_digest(text) if text.is_file() else None for text in texts]

    def work(folder: Path, bar: progress.Bar) -> None:
        from lycoris.images import read_image

        eyes = compute.tagger(tagger[0], place.device)
        tags = []
        for number, picture in enumerate(concept.pictures, 1):
            tags += eyes.tags([read_image(picture.path)])
            bar(number, len(concept.pictures))
        (folder / TAGS).write_text(json.dumps(tags, ensure_ascii=False))

    made = stage(place, "captions", concept.name, inputs, work)
    return json.loads((made.folder / TAGS).read_text()), made.cached
