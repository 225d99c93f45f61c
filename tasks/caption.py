"""Tag every picture once, and turn tags into captions and prompts under each strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import Store, code_version, key
from lycoris.captions.concept_tags import Inherent
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown
from tasks.artifacts import Captioned, Eyes, Place
from tasks.runtime import progress, resources

SEEN = "seen"
LOOKING = ("captions/taggers", "encoders", "data/images.py")
"""The code that tags and sentences depend on."""


@dataclass(frozen=True)
class Written:
    """A concept and all that is said of its pictures.

    Attributes:
        concept: without the pictures that cannot be used.
        tags: tag -> confidence for each picture.
        inherent: which of them belong to the concept.
        captions: strategy -> one caption a picture.
        cached: whether tags and sentences were there already.
        set_aside: what is wrong with the pictures that cannot be used.
        notes: what the user should know of it, in sentences.
    """

    concept: Concept
    tags: list[dict[str, float]]
    inherent: list[Inherent]
    captions: dict[str, tuple[str, ...]]
    cached: bool
    set_aside: dict[Path, str]
    notes: list[str]


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
    on_bad_picture: str = "set_aside",
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
        on_bad_picture: ``"set_aside"`` leaves a picture that cannot be read out of all that follows and tells of
            it, ``"stop"`` is an error.

    Returns:
        One record a chosen concept.

    Raises:
        InputError: a picture of a chosen concept is bad, and this is to stop; or none of its pictures is good.
    """
    from lycoris.captions import prompts
    from lycoris.data.concepts import pictures_digest

    templates = wording(base, templates_file)
    written = write(
        place, data=data, concepts_file=concepts_file, names=names, tagger=tagger, captioner=captioner, base=base,
        strategies=strategies, templates=templates, stop=on_bad_picture == "stop",
    )  # fmt: skip
    records = []
    for one in written:
        for text in one.notes:
            progress.note(place.progress, text)
        asked = {
            name: {
                kind: tuple(asdict(p) for p in prompts(one.concept, texts, kind, count, seed, templates))
                for kind, count in counts.items()
                if count
            }
            for name, texts in one.captions.items()
        }
        records.append(
            Captioned(
                name=one.concept.name,
                category=one.concept.category,
                trigger=one.concept.trigger,
                class_noun=one.concept.class_noun,
                description=one.concept.description,
                names=one.concept.names,
                digest=pictures_digest(one.concept),
                pictures=tuple(picture.path for picture in one.concept.pictures),
                captions=one.captions,
                prompts=asked,
                inherent=tuple(asdict(entry) for entry in one.inherent),
                cached=one.cached,
                set_aside={str(path): reason for path, reason in one.set_aside.items()},
            )
        )
    return records


def wording(base: str, file: Path | None) -> Any:
    """The sentences that captions and prompts are made with: a base's, the user's over them."""
    from lycoris.captions import default_templates, read_templates

    templates = default_templates(base)
    return templates if file is None else read_templates(file, templates)


def write(
    place: Place,
    *,
    data: Path,
    concepts_file: Path | None,
    names: Sequence[str] | None,
    tagger: Eyes,
    captioner: tuple[str, str] | None,
    base: str,
    strategies: Sequence[str],
    templates: Any,
    stop: bool,
) -> list[Written]:
    """The captions of the chosen concepts under each strategy; see `captions`."""
    from lycoris.captions import caption, inherent_tags
    from lycoris.captions.token_limits import window_notes
    from lycoris.captions.triggers import trigger_notes
    from lycoris.data.concepts import read_concepts

    everything = read_concepts(data, concepts_file, notice=lambda text: progress.note(place.progress, text))
    for name in names or ():
        if name not in {concept.name for concept in everything}:
            raise unknown("concept", name, [concept.name for concept in everything])
    tokenizers = resources.tokenizers(base)
    about_triggers = trigger_notes(everything, tokenizers)
    tags, known, bad, own = {}, {}, {}, {}
    for concept in everything:
        tags[concept.name], bad[concept.name], known[concept.name], own[concept.name] = looked(place, concept, tagger)
    written = []
    for given in everything:
        if names is not None and given.name not in names:
            continue
        reasons = bad[given.name]
        concept = _usable(given, reasons, stop=stop)
        told, also = read(place, concept, captioner) if captioner is not None else (None, True)
        inherent = inherent_tags(
            concept, tags[concept.name], [tags[other.name] for other in everything if other.name != concept.name]
        )
        texts = {
            name: tuple(caption(concept, tags[concept.name], inherent, name, templates, told)) for name in strategies
        }
        notes = [note for note in about_triggers if f"`{concept.name}`" in note]
        if own[concept.name]:
            notes.append(
                f"{own[concept.name]} of {len(concept.pictures)} pictures of `{concept.name}` have tags in a text file "
                f"beside them, which go before those of the tagger `{tagger.source}`."
            )
        notes += [*(f"Set aside: {reason}" for reason in reasons.values())]
        notes += window_notes(concept.name, texts, tokenizers)
        written.append(
            Written(concept, tags[concept.name], inherent, texts, known[concept.name] and also, reasons, notes)
        )
    return written


def _usable(concept: Concept, bad: Mapping[Path, str], *, stop: bool) -> Concept:
    """A concept without its bad pictures."""
    for reason in bad.values() if stop else ():
        raise InputError(reason)
    pictures = tuple(picture for picture in concept.pictures if picture.path not in bad)
    if not pictures:
        raise InputError(f"None of the {len(bad)} pictures of `{concept.name}` can be used. {next(iter(bad.values()))}")
    return replace(concept, pictures=pictures)


def looked(place: Place, concept: Concept, tagger: Eyes) -> tuple[list[dict[str, float]], dict[Path, str], bool, int]:
    """As `look`; but what stands beside a picture goes before the tagger. Also of how many pictures that is so."""
    from lycoris.captions import sidecar_tags
    from lycoris.captions.sidecar import TAGS

    tags, bad, known = look(place, concept, tagger)
    if tagger.source == "sidecar":
        return tags, bad, known, 0
    paths = [picture.path for picture in concept.pictures if picture.path not in bad]
    beside = [path for path in paths if path.with_suffix(TAGS).is_file()]
    own = dict(zip(beside, sidecar_tags(beside), strict=True))
    return [own.get(path, seen) for path, seen in zip(paths, tags, strict=True)], bad, known, len(own)


def look(place: Place, concept: Concept, tagger: Eyes) -> tuple[list[dict[str, float]], dict[Path, str], bool]:
    """The tags of a concept's good pictures, what is wrong with the others, and whether all was known."""
    from lycoris.captions import sidecar_tags

    paths = [picture.path for picture in concept.pictures]
    code, label = code_version(*LOOKING), f"captions {concept.name}"
    if tagger.source == "sidecar":
        _, bad, known = _once(place, label, paths, {"readable": code}, lambda images: [one.size for one in images])
        return sidecar_tags([path for path in paths if path not in bad]), bad, known
    return _once(
        place, label, paths, {"tagger": tagger.digest, "code": code},
        lambda images: resources.tagger(tagger, place.device).tags(images),
    )  # fmt: skip


def read(place: Place, concept: Concept, captioner: tuple[str, str]) -> tuple[list[str], bool]:
    """The sentences of a concept's pictures, those beside them first, and whether all were known."""
    from lycoris.captions import sidecar_sentences
    from lycoris.captions.sidecar import SENTENCE

    source, digest = captioner
    paths = [picture.path for picture in concept.pictures]
    if source == "sidecar":
        return sidecar_sentences(paths), True
    beside = [path for path in paths if path.with_suffix(SENTENCE).is_file()]
    own = dict(zip(beside, sidecar_sentences(beside), strict=True))
    sentences, _, known = _once(
        place, f"sentence {concept.name}", paths, {"captioner": digest, "code": code_version(*LOOKING)},
        lambda images: resources.captioner(source, place.device).sentences(images),
    )  # fmt: skip
    return [own.get(path, sentence) for path, sentence in zip(paths, sentences, strict=True)], known


def _once(
    place: Place,
    label: str,
    paths: Sequence[Path],
    seer: Mapping[str, Any],
    see: Callable[[Any], list[Any]],
) -> tuple[list[Any], dict[Path, str], bool]:
    """What is seen in each picture, looked at only where it was not before; another run that does it is waited for."""
    from lycoris.captions.taggers.tag_cache import look_once

    def look(images: Any) -> list[Any]:
        with resources.turn(place, gpu=True):
            return see(images)

    started = time.monotonic()
    store = Store(place.store)
    mine = store.alone(key("seen", {**seer, "pictures": [str(path) for path in paths]}))
    with mine, progress.step(place.progress, label) as bar:
        found, bad, known = look_once(
            place.store / SEEN, seer, paths, look, bar, lambda text: progress.note(place.progress, text)
        )
    progress.finished(place.progress, label, cached=known, seconds=time.monotonic() - started)
    return found, bad, known
