"""Tag every picture once, and turn tags into captions and prompts under each strategy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.store import code_version
from tasks import compute, progress
from tasks.records import Captioned, Eyes, Place

SEEN = "seen"
LOOKING = (
    *(f"captions/{name}.py" for name in ("tagger", "classifier", "onnx_tagger", "zero_shot", "choosing", "labels")),
    *("captions/captioner.py", "captions/loading.py", "encoders", "images.py"),
)
"""The code that tags and sentences depend on."""


@task(name="captions")
def captions(
    place: Place,
    *,
    data: Path,
    concepts_file: Path | None,
    names: Sequence[str] | None,
    tagger: Eyes,
    captioner: tuple[str, str] | None = None,
    base: str,
    strategies: Sequence[str],
    counts: Mapping[str, int],
    seed: int,
    templates_file: Path | None = None,
) -> list[Captioned]:
    """Caption the chosen concepts under each strategy and write the prompts that follow.

    Args:
        place: where what was seen in a picture is kept.
        data: the folder of pictures.
        concepts_file: None for the one in the folder.
        names: the concepts to caption; None for all. The tags of the others say what is common.
        tagger: how it is opened, and its digest.
        captioner: its source and the digest of its files; None when no strategy asks for sentences.
        base: the base's source, whose tokenizers triggers and captions are held against.
        strategies: of `lycoris.captions.STRATEGIES`.
        counts: prompt type -> how many prompts.
        seed: of the first prompt of each type.
        templates_file: the user's sentences over the base's.

    Returns:
        One record a chosen concept.
    """
    compute.prepare(place)
    from lycoris.captions import caption, default_templates, inherent_tags, prompts, read_templates
    from lycoris.captions.triggers import trigger_notes
    from lycoris.captions.windows import window_notes
    from lycoris.concepts import pictures_digest, read_concepts

    def note(text: str) -> None:
        progress.note(place.progress, text)

    everything = read_concepts(data, concepts_file, notice=note)
    tokenizers = compute.tokenizers(base)
    for text in trigger_notes(everything, tokenizers):
        note(text)
    templates = default_templates(base)
    if templates_file is not None:
        templates = read_templates(templates_file, templates)
    wanted = {concept.name for concept in everything} if names is None else set(names)
    tags, sentences, known = {}, {}, {}
    for concept in everything:
        tags[concept.name], known[concept.name] = look(place, concept, tagger)
        if captioner is not None and concept.name in wanted:
            sentences[concept.name], also = read(place, concept, captioner)
            known[concept.name] &= also
    records = []
    for concept in everything if names is None else read_concepts(data, concepts_file, names=names):
        others = [tags[other.name] for other in everything if other.name != concept.name]
        inherent = inherent_tags(concept, tags[concept.name], others)
        texts = {
            name: tuple(caption(concept, tags[concept.name], inherent, name, templates, sentences.get(concept.name)))
            for name in strategies
        }
        for text in window_notes(concept.name, texts, tokenizers):
            note(text)
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
                digest=pictures_digest(concept),
                pictures=tuple(picture.path for picture in concept.pictures),
                captions=texts,
                prompts=asked,
                inherent=tuple(asdict(entry) for entry in inherent),
                cached=known[concept.name],
            )
        )
    return records


def look(place: Place, concept: Any, tagger: Eyes) -> tuple[list[dict[str, float]], bool]:
    """The tags of a concept's pictures, and whether all were known."""
    from lycoris.captions import sidecar_tags

    if tagger.source == "sidecar":
        return sidecar_tags([picture.path for picture in concept.pictures]), False
    seer = {"tagger": tagger.digest, "code": code_version(*LOOKING)}
    return _once(place, concept, "captions", seer, lambda images: compute.tagger(tagger, place.device).tags(images))


def read(place: Place, concept: Any, captioner: tuple[str, str]) -> tuple[list[str], bool]:
    """The sentences of a concept's pictures, and whether all were known."""
    from lycoris.captions import sidecar_sentences

    source, digest = captioner
    if source == "sidecar":
        return sidecar_sentences([picture.path for picture in concept.pictures]), False
    seer = {"captioner": digest, "code": code_version(*LOOKING)}
    return _once(
        place, concept, "sentences", seer, lambda images: compute.captioner(source, place.device).sentences(images)
    )


def _once(place: Place, concept: Any, step: str, seer: Mapping[str, Any], see: Any) -> tuple[list[Any], bool]:
    """What is seen in each picture, looked at only where it was not before."""
    from lycoris.captions.kept import look_once

    label, started = f"{step:<9}{concept.name}", time.monotonic()
    with progress.step(place.progress, label) as bar:
        found, known = look_once(place.store / SEEN, seer, [picture.path for picture in concept.pictures], see, bar)
    progress.finished(place.progress, label, cached=known, seconds=time.monotonic() - started)
    return found, known
