"""The settings of an adapter for the number of images that it is trained on."""

from __future__ import annotations

from dataclasses import replace

from flows.config.adapter import AdapterConfig
from flows.config.experiment import Experiment
from tasks.trainings import AdapterSettings


def settings_for_images(experiment: Experiment, adapter: AdapterConfig, images: int) -> AdapterSettings:
    """Return the settings of an adapter, where a default warm-up is at most a tenth of the training.

    Args:
        images: How many images an epoch has, repeats included.
    """
    from lycoris.training import TrainingSettings

    settings = experiment.adapter_settings(adapter)
    is_chosen = "warmup_steps" in experiment.training or "warmup_steps" in adapter.training
    if is_chosen or settings.training.get("steps"):  # `merge_training` limits the warm-up of a number of steps
        return settings
    training = TrainingSettings(**settings.training)
    warmup_steps = min(training.warmup_steps, training.steps_after(training.length, images) // 10)
    if warmup_steps == training.warmup_steps:
        return settings
    return replace(settings, training={**settings.training, "warmup_steps": warmup_steps})


def training_count(experiment: Experiment, concepts: int) -> int:
    """Return how many adapters an experiment trains on a number of concepts."""
    combinations = sum(len(experiment.captions_of(adapter)) for adapter in experiment.algorithms)
    return concepts * combinations * len(experiment.seeds)
