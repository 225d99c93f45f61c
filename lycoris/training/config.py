"""The dials of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lycoris.errors import InputError, unknown_name_error
from lycoris.training.optim.optimizers import OPTIMIZERS, check_options
from lycoris.training.optim.schedules import ONE_CYCLE, SCHEDULES

LossName = Literal["mse", "huber", "smooth_l1"]

MaskSource = Literal["file", "alpha"]
OnInvalidImage = Literal["skip", "stop"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train; the defaults are the paper's, but for the rate, which is an algorithm's own.

    Attributes:
        steps: optimiser steps; exactly one of this and `epochs` is given.
        epochs: times that every picture is seen, those with `repeats` that much more often.
        batch_size: images that go through the base at once; a step has `gradient_accumulation_steps` times as many.
            Where there are prior examples, as many of those join them.
        gradient_accumulation_steps: parts of a step, after the last of which the optimiser moves the parameters.
        optimizer: a key of `OPTIMIZERS`.
        optimizer_options: further arguments of the optimiser's class, by its own names.
        learning_rate: the optimiser's step size, at the top of the schedule; of `prodigy`, a factor on the one it
            finds, 1 as a rule.
        text_encoder_learning_rate: the same for adapters of the text encoder; `None` means `learning_rate`.
        loraplus_ratio: how much faster `up` of LoRA and DyLoRA learns than `down`; `None` is one rate for both.
        weight_decay: the optimiser's, relative to the rate.
        betas: decay rates of the first and second moment, of optimisers that have them.
        clip_norm: largest Euclidean norm of the whole gradient; `None` does not clip.
        schedule: how the rate moves after the warm-up, a key of `SCHEDULES`; or ``"one-cycle"``.
        warmup_steps: steps over which the rate rises linearly from 0; in one cycle its rise.
        cycles: times that the schedule is run through, each from the top.
        ema_decay: largest decay rate of the moving average of the parameters, which is then what the network holds
            at the end; `None` keeps none.
        caption_dropout: chance that a picture goes with the empty caption.
        loss: a key of `lycoris.training.losses.LOSSES`.
        huber_delta: error at which the losses other than ``"mse"`` turn from square to straight.
        min_snr: cap of the signal-to-noise ratio in the loss weight; `None` weighs all times alike.
        noise_offset: standard deviation of noise that a channel has in common over the picture, beside the other's 1.
        zero_terminal_snr: train on the base's schedule stretched to end at pure noise.
        horizontal_flip: mirror a picture left to right with chance 1/2.
        gradient_checkpointing: compute a block's inner values again in the backward pass instead of keeping them.
        compile: backend of `torch.compile` for the base's denoiser, such as ``"inductor"``; `None` does not compile.
        shuffle_tags: bring a caption's tags, the parts between commas, into another order at each step.
        tag_dropout: chance that a tag is left out of its caption at a step.
        keep_tokens: tags at the caption's beginning that are neither moved nor left out.
        prior_weight: of the loss of prior examples, beside the others' of 1.
        mask: where the loss counts: ``"file"`` is the white of ``name.mask.png`` beside a picture, ``"alpha"``
            what is opaque; `None` is everywhere.
        cache_encodings: encode pictures and captions once and keep that; False encodes them at each step.
        on_invalid_image: ``"skip"`` trains on the rest and tells which, ``"stop"`` is an error.

    Raises:
        InputError: a value is out of its range.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    optimizer: str = "adamw"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = 5e-4
    text_encoder_learning_rate: float | None = None
    loraplus_ratio: float | None = None
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float | None = 1.0
    schedule: str = "constant"
    warmup_steps: int = 0
    cycles: int = 1
    ema_decay: float | None = None
    caption_dropout: float = 0.05
    loss: LossName = "mse"
    huber_delta: float = 0.1
    min_snr: float | None = None
    noise_offset: float = 0.0
    zero_terminal_snr: bool = False
    horizontal_flip: bool = False
    gradient_checkpointing: bool = False
    compile: str | None = None
    shuffle_tags: bool = False
    tag_dropout: float = 0.0
    keep_tokens: int = 1
    prior_weight: float = 1.0
    mask: MaskSource | None = None
    cache_encodings: bool = True
    on_invalid_image: OnInvalidImage = "skip"

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
        _require(
            "gradient_accumulation_steps",
            self.gradient_accumulation_steps,
            self.gradient_accumulation_steps >= 1,
            "at least 1",
        )
        _require("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "at least 0 and finite")
        _require("betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "in [0, 1)")
        _require("clip_norm", self.clip_norm, self.clip_norm is None or self.clip_norm > 0, "above 0 or None")
        _require("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "at least 0")
        _require("cycles", self.cycles, self.cycles >= 1, "at least 1")
        _require("ema_decay", self.ema_decay, self.ema_decay is None or 0 < self.ema_decay < 1, "in (0, 1) or None")
        _require("caption_dropout", self.caption_dropout, 0 <= self.caption_dropout <= 1, "in [0, 1]")
        _require("min_snr", self.min_snr, self.min_snr is None or self.min_snr > 0, "above 0 or None")
        _require("huber_delta", self.huber_delta, 0 < self.huber_delta < math.inf, "above 0 and finite")
        _require("noise_offset", self.noise_offset, 0 <= self.noise_offset < math.inf, "at least 0 and finite")
        ratio = self.loraplus_ratio
        _require("loraplus_ratio", ratio, ratio is None or 0 < ratio < math.inf, "above 0 and finite, or None")
        _require("tag_dropout", self.tag_dropout, 0 <= self.tag_dropout <= 1, "in [0, 1]")
        _require("keep_tokens", self.keep_tokens, self.keep_tokens >= 0, "at least 0")
        _require("prior_weight", self.prior_weight, 0 <= self.prior_weight < math.inf, "at least 0 and finite")
        _require("mask", self.mask, self.mask in (None, *get_args(MaskSource)), "file, alpha or None")
        bad = self.on_invalid_image
        _require("on_invalid_image", bad, bad in get_args(OnInvalidImage), "skip or stop")
        if self.loss not in get_args(LossName):
            raise unknown_name_error("loss", self.loss, get_args(LossName))
        if self.schedule not in (*SCHEDULES, ONE_CYCLE):
            raise unknown_name_error("schedule", self.schedule, (*SCHEDULES, ONE_CYCLE))
        _require("cycles", self.cycles, self.cycles == 1 or self.schedule != ONE_CYCLE, f"1 with `{ONE_CYCLE}`")
        check_options(self.optimizer, self.optimizer_options)
        own = OPTIMIZERS[self.optimizer].keeps_average
        _require("ema_decay", self.ema_decay, not own or self.ema_decay is None, f"None with `{self.optimizer}`")
        if OPTIMIZERS[self.optimizer].adapts_lr:
            self._check_adaptive_rate()

    def _check_adaptive_rate(self) -> None:
        """The optimiser finds its rate: what is given is a factor, and one for all parameters."""
        text = self.text_encoder_learning_rate
        rule = f"near 1 (0.1 to 10) with `{self.optimizer}`, which finds the rate itself and takes this as a factor"
        _require("learning_rate", self.learning_rate, 0.1 <= self.learning_rate <= 10, rule)
        alike = text in (None, 0, self.learning_rate)
        _require("text_encoder_learning_rate", text, alike, f"None, 0 or `learning_rate` with `{self.optimizer}`")
        ratio = self.loraplus_ratio
        _require("loraplus_ratio", ratio, ratio in (None, 1), f"None with `{self.optimizer}`")

    @property
    def effective_batch_size(self) -> int:
        """Pictures that one step of the optimiser is for."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def augments_captions(self) -> bool:
        """Whether a caption differs from step to step."""
        return self.shuffle_tags or self.tag_dropout > 0

    def steps_for(self, image_count: int) -> int:
        """Optimiser steps for a number of pictures, repeats counted and prior ones not.

        Raises:
            InputError: the warm-up would outlast the run.
        """
        steps = self.steps_after(self.length, image_count)
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

    def steps_after(self, count: float, image_count: int) -> int:
        """Optimiser steps in a part of the run, counted in `unit`; a begun step is a whole one."""
        return round(count) if self.epochs is None else math.ceil(count * image_count / self.effective_batch_size)

    def epochs_after(self, step: int, image_count: int) -> float:
        """How often each picture was seen after a number of steps, on average."""
        return step * self.effective_batch_size / image_count


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"Argument `{name}` must be {rule}, but got {value!r}.")
