"""The dials of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lycoris.errors import InputError, unknown
from lycoris.training.schedules import SCHEDULES

MaskSource = Literal["file", "alpha"]
OnBadPicture = Literal["set_aside", "stop"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train; the defaults are the paper's, but for the rate, which is an algorithm's own.

    Attributes:
        steps: optimiser steps; exactly one of this and `epochs` is given.
        epochs: times that every picture is seen, those with `repeats` that much more often.
        batch_size: pictures a step; where there are prior ones, as many of those join them.
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
        shuffle_tags: bring a caption's tags, the parts between commas, into another order at each step.
        tag_dropout: chance that a tag is left out of its caption at a step.
        keep_tokens: tags at the caption's beginning that are neither moved nor left out.
        prior_weight: of the loss of prior examples, beside the others' of 1.
        mask: where the loss counts: ``"file"`` is the white of ``name.mask.png`` beside a picture, ``"alpha"``
            what is opaque; `None` is everywhere.
        on_bad_picture: ``"set_aside"`` trains on the rest and tells which, ``"stop"`` is an error.

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
    shuffle_tags: bool = False
    tag_dropout: float = 0.0
    keep_tokens: int = 1
    prior_weight: float = 1.0
    mask: MaskSource | None = None
    on_bad_picture: OnBadPicture = "set_aside"

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
        _require("tag_dropout", self.tag_dropout, 0 <= self.tag_dropout <= 1, "in [0, 1]")
        _require("keep_tokens", self.keep_tokens, self.keep_tokens >= 0, "at least 0")
        _require("prior_weight", self.prior_weight, 0 <= self.prior_weight < math.inf, "at least 0 and finite")
        _require("mask", self.mask, self.mask in (None, *get_args(MaskSource)), "file, alpha or None")
        bad = self.on_bad_picture
        _require("on_bad_picture", bad, bad in get_args(OnBadPicture), "set_aside or stop")
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)

    @property
    def varies_captions(self) -> bool:
        """Whether a caption differs from step to step."""
        return self.shuffle_tags or self.tag_dropout > 0

    def steps_for(self, pictures: int) -> int:
        """Optimiser steps for a number of pictures, repeats counted and prior ones not.

        Raises:
            InputError: the warm-up would outlast the run.
        """
        steps = self.steps or math.ceil((self.epochs or 0) * pictures / self.batch_size)
        _require("warmup_steps", self.warmup_steps, self.warmup_steps <= steps, f"at most the run's {steps} steps")
        return steps


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"Argument `{name}` must be {rule}, but got {value!r}.")
