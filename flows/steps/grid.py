"""The adapters of an experiment, and what each training is asked for, before any is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from flows.config import monitoring
from flows.config.experiment import Experiment
from lycoris.data.splits import held_out
from lycoris.errors import InputError
from tasks.artifacts import Captioned, Cell
from tasks.runtime.transfer import Sent


class Planned(NamedTuple):
    """One adapter to come."""

    cell: Cell
    concept: Captioned
    settings: dict[str, Any]


def cells(experiment: Experiment, captioned: Sequence[Captioned]) -> list[Planned]:
    """Every adapter of an experiment, checkpoints before the end of their training."""
    return [
        Planned(cell, concept, settings)
        for concept in captioned
        for adapter in experiment.algorithms
        for settings in [experiment.settings(adapter)]
        for strategy in experiment.captions_of(adapter)
        for seed in experiment.seeds
        for cell in _of_training(concept.name, adapter.label, strategy, seed, experiment.checkpoints, settings)
    ]


def _of_training(
    concept: str, algorithm: str, captions: str, seed: int, checkpoints: Sequence[int], settings: Mapping[str, Any]
) -> list[Cell]:
    """The adapters of one training: its checkpoints, and its end."""
    training = settings["training"]
    counts = [count for count in sorted(checkpoints) if count < monitoring.length(training)]
    return [Cell(concept, algorithm, captions, seed, count, monitoring.unit(training)) for count in [*counts, None]]


def trainings(
    experiment: Experiment,
    base: str,
    base_digest: str,
    planned: Sequence[Planned],
    sent: Mapping[str, Sent | None] = MappingProxyType({}),
) -> dict[Cell, dict[str, Any]]:
    """What `tasks.train.adapter` is asked for, by the cell of each training's end.

    Args:
        experiment: whose adapters they are.
        base: the base's source.
        base_digest: hash of its files.
        planned: of `cells`.
        sent: concept -> its pictures as workers without a common disk get them.

    Raises:
        InputError: a concept has too few pictures for what is asked.
    """
    checkpoints: dict[Cell, list[int]] = {}
    for one in planned:
        if one.cell.checkpoint:
            checkpoints.setdefault(replace(one.cell, checkpoint=None), []).append(one.cell.checkpoint)
    asked: dict[Cell, dict[str, Any]] = {}
    for cell, concept, settings in planned:
        if cell.checkpoint is not None:
            continue
        seen = learned_from(experiment, concept, settings.get("pictures"))
        asked[cell] = {
            "cell": cell,
            "base": base,
            "base_digest": base_digest,
            "pictures": [concept.pictures[row] for row in seen],
            "picture_digest": concept.digest,
            "captions": [concept.captions[cell.captions][row] for row in seen],
            "settings": settings,
            "set_aside": concept.set_aside,
            "checkpoints": checkpoints.get(cell, []),
            "watch": monitoring.watch(
                experiment.validation,
                experiment.samples,
                settings["training"],
                concept.prompts[cell.captions],
                experiment.drawing(),
            ),
        }
        if (some := sent.get(concept.name)) is not None:
            asked[cell]["sent"] = some.some(seen)
    return asked


def learned_from(experiment: Experiment, concept: Captioned, pictures: int | None) -> list[int]:
    """Rows of the pictures that an adapter is trained on.

    Args:
        experiment: may hold pictures out, which no adapter is trained on.
        concept: whose pictures they are.
        pictures: how many; None for all. A smaller number's are among those of a larger.

    Raises:
        InputError: there are fewer.
    """
    seen, _ = held_out(concept.pictures, experiment.hold_out, concept.name)
    if pictures is None:
        return seen
    if pictures > len(seen):
        raise InputError(
            f"Option `pictures` must be at most the {len(seen)} pictures that `{concept.name}` is trained on, "
            f"but is {pictures}."
        )
    return held_out(concept.pictures, len(concept.pictures) - pictures, concept.name)[0]


def base_prompts(concept: Captioned, strategies: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What the untouched base draws of a concept.

    Returns:
        Prompt type -> prompts of what no caption strategy changes, to be drawn once; and the same of training captions,
        by strategy.
    """
    shared = {kind: some for kind, some in concept.prompts[strategies[0]].items() if kind != "train"}
    own = {name: {kind: some for kind, some in concept.prompts[name].items() if kind == "train"} for name in strategies}
    return shared, own
