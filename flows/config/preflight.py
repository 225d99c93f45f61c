"""Validation of an experiment before any server or worker is started."""

from __future__ import annotations

from pathlib import Path

from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from lycoris.errors import InputError, unknown_name_error

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
    tagger_digest(experiment.tagger, experiment.thresholds, experiment.vocabulary)
    if "sentence" in experiment.strategies:
        captioner_digest(experiment.captioner)
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
        select_concepts(experiment, experiment.data)
