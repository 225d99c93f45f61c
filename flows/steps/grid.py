"""The adapters of an experiment, and what each training is asked for, before any is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from flows.config import monitoring
from flows.config.experiment import Experiment
from lycoris.data.splits import split_held_out
from lycoris.errors import InputError
from tasks.artifacts import CaptionedConcept, RunSpec
from tasks.runtime.transfer import ImageBundle


class PlannedRun(NamedTuple):
    """One adapter to come."""

    spec: RunSpec
    concept: CaptionedConcept
    settings: dict[str, Any]


def expand_grid(experiment: Experiment, captioned: Sequence[CaptionedConcept]) -> list[PlannedRun]:
    """Every adapter of an experiment, checkpoints before the end of their training."""
    return [
        PlannedRun(cell, concept, settings)
        for concept in captioned
        for adapter in experiment.algorithms
        for settings in [experiment.adapter_settings(adapter)]
        for strategy in experiment.captions_of(adapter)
        for seed in experiment.seeds
        for cell in _training_specs(concept.name, adapter.label, strategy, seed, experiment.checkpoints, settings)
    ]


def _training_specs(
    concept: str, algorithm: str, captions: str, seed: int, checkpoints: Sequence[int], settings: Mapping[str, Any]
) -> list[RunSpec]:
    """The adapters of one training: its checkpoints, and its end."""
    training = settings["training"]
    counts = [count for count in sorted(checkpoints) if count < monitoring.training_length(training)]
    return [
        RunSpec(concept, algorithm, captions, seed, count, monitoring.length_unit(training))
        for count in [*counts, None]
    ]


def training_requests(
    experiment: Experiment,
    base: str,
    base_digest: str,
    planned_runs: Sequence[PlannedRun],
    image_bundles: Mapping[str, ImageBundle | None] = MappingProxyType({}),
) -> dict[RunSpec, dict[str, Any]]:
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
    checkpoints: dict[RunSpec, list[int]] = {}
    for one in planned_runs:
        if one.spec.checkpoint:
            checkpoints.setdefault(replace(one.spec, checkpoint=None), []).append(one.spec.checkpoint)
    asked: dict[RunSpec, dict[str, Any]] = {}
    for cell, concept, settings in planned_runs:
        if cell.checkpoint is not None:
            continue
        seen = training_rows(experiment, concept, settings.get("pictures"))
        asked[cell] = {
            "cell": cell,
            "base": base,
            "base_digest": base_digest,
            "pictures": [concept.images[row] for row in seen],
            "picture_digest": concept.images_digest,
            "captions": [concept.captions[cell.strategy][row] for row in seen],
            "settings": settings,
            "set_aside": concept.skipped_images,
            "checkpoints": checkpoints.get(cell, []),
            "watch": monitoring.monitoring_options(
                experiment.validation,
                experiment.samples,
                settings["training"],
                concept.prompts[cell.strategy],
                experiment.sampling_settings(),
            ),
        }
        if (some := image_bundles.get(concept.name)) is not None:
            asked[cell]["sent"] = some.subset(seen)
    return asked


def training_rows(experiment: Experiment, concept: CaptionedConcept, count: int | None) -> list[int]:
    """Rows of the pictures that an adapter is trained on.

    Args:
        experiment: may hold pictures out, which no adapter is trained on.
        concept: whose pictures they are.
        pictures: how many; None for all. A smaller number's are among those of a larger.

    Raises:
        InputError: there are fewer.
    """
    seen, _ = split_held_out(concept.images, experiment.hold_out, concept.name)
    if count is None:
        return seen
    if count > len(seen):
        raise InputError(
            f"Option `pictures` must be at most the {len(seen)} pictures that `{concept.name}` is trained on, "
            f"but is {count}."
        )
    return split_held_out(concept.images, len(concept.images) - count, concept.name)[0]


def base_prompts(
    concept: CaptionedConcept, strategies: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What the untouched base draws of a concept.

    Returns:
        Prompt type -> prompts of what no caption strategy changes, to be drawn once; and the same of training captions,
        by strategy.
    """
    shared = {kind: some for kind, some in concept.prompts[strategies[0]].items() if kind != "train"}
    own = {name: {kind: some for kind, some in concept.prompts[name].items() if kind == "train"} for name in strategies}
    return shared, own
