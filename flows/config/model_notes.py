"""What the models of an experiment do not know of its images, and what to set: on the terminal and on the pages."""

from __future__ import annotations

from collections.abc import Iterable

from flows.config.concepts import own_concepts
from flows.config.defaults import embedded_encoders_note
from flows.config.experiment import Experiment
from lycoris.errors import list_names
from lycoris.pocket import EMBEDDED_BASES
from lycoris.terms import TAGGED_STRATEGIES


def model_notes(
    experiment: Experiment, concepts: Iterable[str], *, about_base: bool = True, shows_tags: bool = False
) -> list[str]:
    """Say which embedded models an experiment uses on images of its user, who may take their words for true.

    Args:
        experiment: its base, tagger and encoders apply.
        concepts: the names of the concepts that are used.
        shows_tags: whether tags are shown, whichever captions are asked for.
        about_base: whether to say that the embedded base cannot show photographs, which pages of its images say always.
    """
    notes = [embedded_encoders_note(experiment.base, experiment.encoders, experiment.style_encoder)]
    if own := own_concepts(concepts):
        uses_tags = shows_tags or bool(TAGGED_STRATEGIES.intersection(experiment.strategies))
        notes.append(_tagger_note(experiment.model_sources()["tagger"], own) if uses_tags else None)
        notes.append(_pocket_note(experiment.base) if about_base else None)
    return [note for note in notes if note]


def _tagger_note(tagger: str | None, own: list[str]) -> str | None:
    if tagger != "pocket":
        return None
    return (
        f"the pocket's tagger knows the words of its drawn toy world only: its tags of photographs, here of "
        f"{list_names(own)}, are wrong. Choose another, `--set tagger=SmilingWolf/wd-vit-tagger-v3`; correct the tags "
        "with `lycoris captions DIR --write`; or train without tags, `--set captions=none` (docs/captions.md)"
    )


def _pocket_note(base: str) -> str | None:
    if base not in EMBEDDED_BASES:
        return None
    return (
        "the pocket knows a drawn toy world only: of photographs, its images and scores say little. Set `base` and "
        "`encoders` to real models for those (docs/bases.md)"
    )
