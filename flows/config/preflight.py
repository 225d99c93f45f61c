"""Validation of an experiment before any server or worker is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    from lycoris.data.concepts import Concept

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def validate_experiment(experiment: Experiment) -> None:
    """Check that the data, the models and the names of an experiment exist.

    Raises:
        InputError: The data, the base or another model is missing or invalid, or a name is unknown.
    """
    from lycoris import bases
    from lycoris.adapters.layers.presets import PRESETS
    from lycoris.bases.schedulers import build_scheduler
    from lycoris.captions import captioner_digest, read_templates, tagger_digest, templates_for_base
    from lycoris.encoders.model_sources import resolve_source

    _validate_data(experiment)
    bases.digest(experiment.base)
    sources = experiment.model_sources()
    if sources["tagger"] is not None:
        tagger_digest(sources["tagger"], experiment.thresholds, experiment.vocabulary)
    elif experiment.thresholds or experiment.vocabulary:
        raise InputError("Options `thresholds` and `vocabulary` have no effect without a `tagger`.")
    if sources["captioner"] is not None:
        captioner_digest(sources["captioner"])
    if experiment.templates is not None:
        read_templates(experiment.templates, templates_for_base(experiment.base))
    for name in (*experiment.encoders, experiment.style_encoder):
        resolve_source(name)
    build_scheduler(bases.load_scheduler_config(experiment.base), experiment.sampling_settings().scheduler)
    for adapter in experiment.algorithms:
        preset = experiment.adapter_settings(adapter).preset
        if preset not in PRESETS:
            raise unknown_name_error("preset", preset, PRESETS)


def _validate_data(experiment: Experiment) -> None:
    from tasks.data_versions.revisions import resolve_revision, versioned_project

    project = versioned_project(experiment.data, PROJECT_ROOT)
    if not experiment.data.is_dir() and project is None:
        raise InputError(f"There is no data folder `{experiment.data}`.")
    if experiment.data_rev is not None:
        resolve_revision(experiment.data_rev, project)
    elif experiment.data.is_dir():
        selected = select_concepts(experiment, experiment.data).selected
        _validate_captions(experiment, selected)
        _validate_image_settings(experiment, selected)


def _validate_captions(experiment: Experiment, concepts: Sequence[Concept]) -> None:
    from lycoris.captions.coverage import check_coverage
    from lycoris.captions.sidecar import Sidecars

    images = [image for concept in concepts for image in concept.images]
    sidecars = Sidecars.read([image.path for image in images], images[0].root)
    sources = experiment.model_sources()
    for concept in concepts:
        check_coverage(
            concept.name,
            [image.path for image in concept.images],
            sidecars,
            experiment.strategies,
            tagger=sources["tagger"],
            captioner=sources["captioner"],
        )


def _validate_image_settings(experiment: Experiment, concepts: Sequence[Concept]) -> None:
    """Check that settings of prior images and masks have images to act on."""
    from lycoris.data.images import find_mask

    trainings = [experiment.adapter_settings(adapter).training for adapter in experiment.algorithms]
    names = ", ".join(f"`{concept.name}`" for concept in concepts)
    if any("prior_weight" in training for training in trainings) and not any(one.prior_images for one in concepts):
        raise InputError(
            f"Setting `prior_weight` needs prior images, but none of {names} has any: name their folder with "
            "`prior` in concepts.yaml, or put them into `reg/1_<class noun>`."
        )
    uses_masks = any(training.get("mask") == "file" for training in trainings)
    if uses_masks and not any(find_mask(image.path) for concept in concepts for image in concept.images):
        raise InputError(f"Setting `mask` is `file`, but no image of {names} has a mask, `name.mask.png` beside it.")
