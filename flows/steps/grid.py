"""Expand an experiment into the runs of its grid, and into what each training needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flows.config import monitoring
from flows.config.adapter import AdapterConfig
from flows.config.experiment import Experiment
from flows.config.fitting import settings_for_images
from lycoris.data.splits import choose_rows, split_held_out
from lycoris.errors import InputError
from tasks.artifacts import CaptionedConcept, ImageSet, ModelRef, Prompts, RunSpec
from tasks.trainings import AdapterSettings, PriorSet, TrainingRequest


@dataclass(frozen=True)
class PlannedRun:
    """An adapter of the grid, its concept, and the settings of its training."""

    spec: RunSpec
    concept: CaptionedConcept
    settings: AdapterSettings


def expand_grid(experiment: Experiment, concepts: Sequence[CaptionedConcept]) -> list[PlannedRun]:
    """Every adapter of an experiment; checkpoints come before the end of their training."""
    return [
        PlannedRun(spec, concept, settings)
        for concept in concepts
        for adapter in experiment.algorithms
        for settings in [_settings(experiment, adapter, concept)]
        for strategy in experiment.captions_of(adapter)
        for seed in experiment.seeds
        for spec in _checkpoint_specs(RunSpec(concept.name, adapter.label, strategy, seed), experiment, settings)
    ]


def _settings(experiment: Experiment, adapter: AdapterConfig, concept: CaptionedConcept) -> AdapterSettings:
    rows = training_rows(experiment, concept, adapter.images)
    return settings_for_images(experiment, adapter, sum(concept.repeats[row] if concept.repeats else 1 for row in rows))


def _checkpoint_specs(final: RunSpec, experiment: Experiment, settings: AdapterSettings) -> list[RunSpec]:
    """The adapters of one training: its checkpoints, and its end."""
    length, unit = monitoring.training_length(settings.training), monitoring.length_unit(settings.training)
    counts = [count for count in sorted(experiment.checkpoints) if count < length]
    return [replace(final, checkpoint=count, checkpoint_unit=unit) for count in [*counts, None]]


def training_requests(
    experiment: Experiment,
    base: ModelRef,
    runs: Sequence[PlannedRun],
    image_sets: Mapping[str, ImageSet],
    prior_sets: Mapping[str, PriorSet] | None = None,
) -> dict[RunSpec, TrainingRequest]:
    """What each training needs, by the spec of its end.

    Args:
        runs: as returned by `expand_grid`.
        image_sets: concept -> its images.
        prior_sets: concept -> its prior images, if it has any.

    Raises:
        InputError: a concept has fewer images than requested.
    """
    checkpoints: dict[RunSpec, list[int]] = {}
    for run in runs:
        if run.spec.checkpoint:
            checkpoints.setdefault(run.spec.training, []).append(run.spec.checkpoint)
    requests = {}
    for run in runs:
        spec, concept = run.spec, run.concept
        if spec.checkpoint is not None:
            continue
        rows = training_rows(experiment, concept, run.settings.images)
        every = concept.alternatives.get(spec.strategy)
        validation, samples = monitoring.resolve_monitoring(
            experiment.validation,
            experiment.samples,
            run.settings.training,
            concept.prompts[spec.strategy],
            experiment.sampling_settings(),
        )
        requests[spec] = TrainingRequest(
            spec=spec,
            base=base,
            images=image_sets[concept.name].subset(rows),
            captions=tuple(concept.captions[spec.strategy][row] for row in rows),
            settings=run.settings,
            skipped_images=concept.skipped_images,
            checkpoints=tuple(checkpoints.get(spec, ())),
            validation=validation,
            samples=samples,
            alternatives=() if every is None else tuple(every[row] for row in rows),
            repeats=tuple(concept.repeats[row] for row in rows) if concept.repeats else (),
            prior=(prior_sets or {}).get(concept.name),
            trigger=concept.trigger,
        )
    return requests


def training_rows(experiment: Experiment, concept: CaptionedConcept, count: int | None) -> list[int]:
    """Indices of the images that an adapter is trained on.

    Args:
        experiment: may hold images out, which no adapter is trained on.
        concept: of the images.
        count: how many; None for all. The images of a smaller number are among those of a larger one.

    Raises:
        InputError: there are fewer.
    """
    rows, _ = split_held_out(concept.images, experiment.hold_out, concept.name)
    if count is None:
        return rows
    if count > len(rows):
        raise InputError(
            f"Option `images` must be at most the {len(rows)} images that `{concept.name}` is trained on, "
            f"but is {count}."
        )
    return choose_rows(concept.images, count, concept.name)


def base_prompts(prompts: Prompts) -> tuple[Prompts, Prompts]:
    """The prompts of a caption strategy as those that no strategy changes, and those made of training captions."""
    shared = {kind: some for kind, some in prompts.items() if kind != "train"}
    return shared, {kind: some for kind, some in prompts.items() if kind == "train"}
