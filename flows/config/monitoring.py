"""What is watched of a training: the experiment's options, and what they mean for one adapter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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


def monitoring_options(
    validation: ValidationConfig | None,
    samples: SampleConfig | None,
    training: Mapping[str, Any],
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
) -> dict[str, Any]:
    """What `tasks.train.adapter` is told to look at.

    Args:
        validation, samples: as the experiment has them.
        training: the adapter's training settings.
        prompts: prompt type -> ``{"text", "seed"}`` records of the concept.
        drawing: ``{"scheduler", "steps", "guidance", "seed", "batch_size"}``.
    """
    tenth = max(1, round(training_length(training) / 10))
    found: dict[str, Any] = {}
    if validation is not None:
        found["validation"] = {**validation.model_dump(), "every": validation.every or tenth}
    if samples is not None:
        if samples.prompts is not None:
            asked = [(text, sampling["seed"] + number) for number, text in enumerate(samples.prompts)]
        else:
            turns = itertools.zip_longest(*prompts.values())
            distinct = dict.fromkeys((one["text"], one["seed"]) for turn in turns for one in turn if one is not None)
            asked = list(distinct)[: samples.count]
        found["samples"] = {
            "every": samples.every or tenth,
            "prompts": [text for text, _ in asked],
            "seeds": [seed for _, seed in asked],
            "drawing": {name: sampling[name] for name in ("scheduler", "steps", "guidance", "batch_size")},
        }
    return found
