"""Tag every picture once, and turn tags into captions and prompts under each strategy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from prefect import task

from lycoris.concepts import Concept
from lycoris.errors import InputError
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
    on_bad_picture: str = "set_aside",
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
        on_bad_picture: ``"set_aside"`` leaves a picture that cannot be read out of all that follows and tells of
            it, ``"stop"`` is an error.

    Returns:
        One record a chosen concept.

    Raises:
        InputError: a picture of a chosen concept is bad, and this is to stop; or none of its pictures is good.
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
    tags, cached, bad = {}, {}, {}
    for concept in everything:
        found = _tags(place, tagger, concept, digests[concept.name])
        tags[concept.name], bad[concept.name], cached[concept.name] = found
    records = []
    for given in chosen:
        concept = _usable(place, given, bad[given.name], stop=on_bad_picture == "stop")
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
                set_aside={str(path): reason for path, reason in bad[concept.name].items()},
            )
        )
    return records


def _usable(place: Place, concept: Concept, bad: Mapping[Path, str], *, stop: bool) -> Concept:
    """A concept without its bad pictures, each of which is told."""
    for reason in bad.values():
        if stop:
            raise InputError(reason)
        progress.note(place.progress, f"Set aside: {reason}")
    pictures = tuple(picture for picture in concept.pictures if picture.path not in bad)
    if not pictures:
        raise InputError(f"None of the {len(bad)} pictures of `{concept.name}` can be used. {next(iter(bad.values()))}")
    return replace(concept, pictures=pictures)


def _tags(
    place: Place, tagger: tuple[str, str], concept: Concept, digest: str
) -> tuple[list[dict[str, float]], dict[Path, str], bool]:
    """One good picture's tags after another, what is wrong with the others, and whether all was known."""
    inputs = {"pictures": digest, "tagger": list(tagger), "code": code_version(*CODE)}
    if tagger[0] == "sidecar":
        texts = [picture.path.with_suffix(".txt") for picture in concept.pictures]
        inputs["sidecars"] = [file_digest(text) if text.is_file() else None for text in texts]

    def work(folder: Path, bar: progress.Bar) -> None:
        from lycoris.images import BadPicture, read_image

        eyes = compute.tagger(tagger[0], place.device)
        tags, bad = [], {}
        for number, picture in enumerate(concept.pictures, 1):
            try:
                image = read_image(picture.path)
            except BadPicture as error:
                bad[picture.relative] = str(error)
            else:
                tags += eyes.tags([image])
            bar(number, len(concept.pictures))
        (folder / TAGS).write_text(json.dumps({"tags": tags, "bad": bad}, ensure_ascii=False))

    made = stage(place, "captions", concept.name, inputs, work)
    found = json.loads((made.folder / TAGS).read_text())
    paths = {picture.relative: picture.path for picture in concept.pictures}
    return found["tags"], {paths[name]: reason for name, reason in found["bad"].items()}, made.cached
