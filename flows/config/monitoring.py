"""What is watched of a training: the experiment's options, and what they mean for one adapter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts import Prompts, SampleOptions, SamplingSettings, ValidationOptions


class ValidationConfig(BaseModel):
    """The loss on pictures that training never sees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hold_out: float = Field(gt=0, description="pictures of each concept to keep from training: a number, or a part")
    every: int | None = Field(None, ge=1, description="epochs, or steps (see checkpoints); default: a tenth of the run")
    noise_levels: int = Field(4, ge=1, description="noise levels at which each of them is looked at")


class SampleConfig(BaseModel):
    """Pictures drawn on the way, always of the same prompts and seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int | None = Field(None, ge=1, description="epochs, or steps (see checkpoints); default: a tenth of the run")
    count: int = Field(4, ge=1, description="pictures each time, the first of each prompt type in turn")
    prompts: tuple[str, ...] | None = Field(None, description="instead of these: your own")


def length_unit(training: Mapping[str, Any]) -> str:
    """What a training's length is counted in, and so its checkpoints: ``"epoch"`` or ``"step"``."""
    return "step" if training.get("steps") else "epoch"


def training_length(training: Mapping[str, Any]) -> float:
    """Of a training, in its unit."""
    return training.get("steps") or training["epochs"]


@dataclass(frozen=True)
class MonitoringOptions:
    """What is computed during the training of one adapter; None where it is not requested."""

    validation: ValidationOptions | None
    samples: SampleOptions | None


def resolve_monitoring(
    validation: ValidationConfig | None,
    samples: SampleConfig | None,
    training: Mapping[str, Any],
    prompts: Prompts,
    sampling: SamplingSettings,
) -> MonitoringOptions:
    """Fill in the defaults of an experiment's options for one adapter.

    Args:
        validation: as in the experiment.
        samples: as in the experiment.
        training: the adapter's training settings.
        prompts: prompt type -> prompts of the concept.
        sampling: how images are generated.
    """
    tenth = max(1, round(training_length(training) / 10))
    return MonitoringOptions(
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
