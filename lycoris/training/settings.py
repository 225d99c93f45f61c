"""The dials of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lycoris.errors import InputError, unknown
from lycoris.training.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train; the defaults are the paper's, but for the rate, which is an algorithm's own.

    Attributes:
        steps: optimiser steps; exactly one of this and `epochs` is given.
        epochs: times that every picture is seen.
        batch_size: pictures a step.
        learning_rate: step size of AdamW, at the top of the schedule.
        text_encoder_learning_rate: the same for adapters of the text encoder; `None` means `learning_rate`.
        weight_decay: AdamW's, relative to the rate.
        betas: AdamW's decay rates of the first and second moment.
        clip_norm: largest Euclidean norm of the whole gradient; `None` does not clip.
        schedule: how the rate moves after the warm-up, a key of `SCHEDULES`.
        warmup_steps: steps over which the rate rises linearly from 0.
        caption_dropout: chance that a picture goes with the empty caption.
        min_snr: cap of the signal-to-noise ratio in the loss weight; `None` weighs all times alike.
        flip: mirror a picture left to right with chance 1/2.

    Raises:
        InputError: a value is out of its range.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 8
    learning_rate: float = 5e-4
    text_encoder_learning_rate: float | None = None
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float | None = 1.0
    schedule: str = "constant"
    warmup_steps: int = 0
    caption_dropout: float = 0.05
    min_snr: float | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise InputError(
                f"Exactly one of `steps` and `epochs` must be given, but got {self.steps!r} and {self.epochs!r}."
            )
        rates = {
            "learning_rate": self.learning_rate,
            "text_encoder_learning_rate": self.text_encoder_learning_rate,
        }
        for name, rate in rates.items():
            _require(name, rate, rate is None or 0 <= rate < math.inf, "at least 0 and finite")
        _require("steps", self.steps, self.steps is None or self.steps >= 1, "at least 1")
        _require("epochs", self.epochs, self.epochs is None or 0 < self.epochs < math.inf, "above 0 and finite")
        _require("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        _require("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "at least 0 and finite")
        _require("betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "in [0, 1)")
        _require("clip_norm", self.clip_norm, self.clip_norm is None or self.clip_norm > 0, "above 0 or None")
        _require("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "at least 0")
        _require("caption_dropout", self.caption_dropout, 0 <= self.caption_dropout <= 1, "in [0, 1]")
        _require("min_snr", self.min_snr, self.min_snr is None or self.min_snr > 0, "above 0 or None")
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)

    def steps_for(self, pictures: int) -> int:
        """Optimiser steps for a number of pictures.

        Raises:
            InputError: the warm-up would outlast the run.
        """
        steps = self.steps_after(self.length, pictures)
        _require("warmup_steps", self.warmup_steps, self.warmup_steps <= steps, f"at most the run's {steps} steps")
        return steps

    @property
    def length(self) -> float:
        """Of the run, in `unit`."""
        return self.steps or self.epochs or 0

    @property
    def unit(self) -> str:
        """What the run's length is counted in: ``"step"`` or ``"epoch"``."""
        return "step" if self.epochs is None else "epoch"

    def steps_after(self, count: float, pictures: int) -> int:
        """Optimiser steps in a part of the run, counted in `unit`; a begun step is a whole one."""
        return round(count) if self.epochs is None else math.ceil(count * pictures / self.batch_size)

    def epochs_after(self, step: int, pictures: int) -> float:
        """How often each picture was seen after a number of steps, on average."""
        return step * self.batch_size / pictures


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"Argument `{name}` must be {rule}, but got {value!r}.")
