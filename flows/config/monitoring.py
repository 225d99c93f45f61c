"""Validation and samples during training: the options of an experiment, and their values for one adapter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from flows.config.record import ConfigRecord
from tasks.artifacts import Prompts, SamplingSettings
from tasks.trainings import SampleOptions, ValidationOptions

_EVERY = "how often, in epochs or steps (see checkpoints); default: a tenth of the training"


class ValidationConfig(ConfigRecord):
    """The loss on images that are not trained on."""

    hold_out: float = Field(gt=0, description="images of each concept for the loss: a number, or a fraction below 1")
    every: int | None = Field(None, ge=1, description=_EVERY)
    noise_levels: int = Field(4, ge=1, description="noise levels at which the loss is computed")


class SampleConfig(ConfigRecord):
    """Images generated during training, always for the same prompts and seeds."""

    every: int | None = Field(None, ge=1, description=_EVERY)
    count: int = Field(4, ge=1, description="images each time, taken from each prompt type in turn")
    prompts: tuple[str, ...] | None = Field(None, description="prompts to use instead")


def length_unit(training: Mapping[str, Any]) -> str:
    """Return the unit of a training's length, and so of its checkpoints: ``"epoch"`` or ``"step"``."""
    return "step" if training.get("steps") else "epoch"


def training_length(training: Mapping[str, Any]) -> float:
    """Return the length of a training in its unit."""
    return training.get("steps") or training["epochs"]


def check_checkpoints(checkpoints: Sequence[int], label: str, training: Mapping[str, Any]) -> None:
    """Check that the checkpoints of an adapter lie within its training.

    Raises:
        ValueError: One lies beyond the end.
    """
    length, last = training_length(training), max(checkpoints)
    if last > length:
        raise ValueError(f"`checkpoints` has {last}, but `{label}` is trained for {length:g} {length_unit(training)}s")


def resolve_monitoring(
    validation: ValidationConfig | None,
    samples: SampleConfig | None,
    training: Mapping[str, Any],
    prompts: Prompts,
    sampling: SamplingSettings,
) -> tuple[ValidationOptions | None, SampleOptions | None]:
    """Return the options of an experiment for one adapter, with defaults filled in; None where not requested.

    Args:
        prompts: Prompt type -> prompts of the concept.
    """
    tenth = max(1, round(training_length(training) / 10))
    return (
        None
        if validation is None
        else ValidationOptions(validation.hold_out, validation.every or tenth, validation.noise_levels),
        None if samples is None else _sample_options(samples, samples.every or tenth, prompts, sampling),
    )


def _sample_options(samples: SampleConfig, every: int, prompts: Prompts, sampling: SamplingSettings) -> SampleOptions:
    if samples.prompts is not None:
        chosen = [(text, sampling.seed + number) for number, text in enumerate(samples.prompts)]
    else:
        rounds = itertools.zip_longest(*prompts.values())
        distinct = dict.fromkeys((one.text, one.seed) for some in rounds for one in some if one is not None)
        chosen = list(distinct)[: samples.count]
    return SampleOptions(every, tuple(text for text, _ in chosen), tuple(seed for _, seed in chosen), sampling)
