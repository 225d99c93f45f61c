"""The settings of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lycoris.bases.flow_matching import LOSS_WEIGHTINGS
from lycoris.bases.timestep_densities import check_density
from lycoris.errors import InputError, unknown_name_error
from lycoris.training.optim.optimizers import OPTIMIZERS, check_options
from lycoris.training.optim.schedules import ONE_CYCLE, SCHEDULES

LossName = Literal["mse", "huber", "smooth_l1"]

MaskSource = Literal["file", "alpha"]
OnInvalidImage = Literal["skip", "stop"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Hyperparameters; the defaults are the paper's, except for the learning rate, which depends on the algorithm.

    Attributes:
        steps: optimizer steps; exactly one of `steps` and `epochs` must be given.
        epochs: times that every image is seen, multiplied by its `repeats`.
        batch_size: images per forward pass; a step has `gradient_accumulation_steps` times as many. Prior examples, if
            any, are added in equal number.
        gradient_accumulation_steps: forward and backward passes per optimizer step.
        optimizer: a key of `OPTIMIZERS`.
        optimizer_options: further arguments of the optimizer's class.
        learning_rate: the optimizer's step size, at the top of the schedule; for `prodigy` a factor on the one that it
            estimates, usually 1.
        text_encoder_learning_rate: the same for adapters of the text encoder; `None` means `learning_rate`.
        loraplus_ratio: learning rate of `up` in LoRA and DyLoRA relative to that of `down`; `None` uses one for both.
        weight_decay: the optimizer's, relative to the learning rate.
        betas: decay rates of the first and second moment, for optimizers that have them.
        clip_norm: maximum Euclidean norm of the whole gradient; `None` does not clip.
        schedule: learning-rate schedule after the warm-up, a key of `SCHEDULES`; or ``"one-cycle"``.
        warmup_steps: steps over which the learning rate rises linearly from 0; for one cycle the length of its rise.
        cycles: times that the schedule repeats, each time from the top.
        ema_decay: maximum decay rate of the moving average of the parameters, which the network then ends with; `None`
            keeps no average.
        caption_dropout: probability that an image gets the empty caption.
        loss: a key of `lycoris.training.losses.LOSS_FUNCTIONS`.
        huber_delta: error at which the losses other than ``"mse"`` turn from quadratic to linear.
        min_snr: cap of the signal-to-noise ratio in the loss weight; `None` weights all timesteps equally.
        timestep_density: density of the times of a flow-matching base, a key of
            `lycoris.bases.timestep_densities.DENSITIES`; `None` means the family's, logit-normal.
        timestep_density_options: its options, such as ``{"mean": 0.5}``.
        timestep_shift: factor that shifts these times towards noise; `None` means the scheduler's, fixed or by image
            size.
        loss_weighting: weight of a time's loss for a flow-matching base, of
            `lycoris.bases.flow_matching.LOSS_WEIGHTINGS`; `None` weights all equally.
        noise_offset: standard deviation of noise that is constant over each channel, added to noise with standard
            deviation 1.
        zero_terminal_snr: rescale the base's noise schedule to end at pure noise.
        horizontal_flip: mirror an image left to right with probability 1/2.
        gradient_checkpointing: recompute a block's activations in the backward pass instead of storing them.
        compile: backend of `torch.compile` for the base's denoiser, such as ``"inductor"``; `None` does not compile.
        shuffle_tags: shuffle a caption's tags, the parts between commas, at each step.
        tag_dropout: probability that a tag is dropped from its caption at a step.
        keep_tokens: tags at the start of a caption that are neither shuffled nor dropped.
        prior_weight: weight of the loss of prior examples; that of the others is 1.
        mask: where the loss counts: ``"file"`` for the white area of ``name.mask.png`` beside an image, ``"alpha"`` for
            what is opaque; `None` for everywhere.
        assistant: an adapter that is on the base in training and not in generation, for distilled bases: a file or hub
            name; see `lycoris.training.assistant`.
        cache_encodings: encode images and captions once and cache the result; False encodes them at each step.
        on_invalid_image: ``"skip"`` trains on the others and reports it, ``"stop"`` is an error.

    Raises:
        InputError: a value is out of range.
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
    timestep_density: str | None = None
    timestep_density_options: Mapping[str, float] = field(default_factory=dict)
    timestep_shift: float | None = None
    loss_weighting: str | None = None
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
    assistant: str | None = None
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
        self._check_times()
        _require("huber_delta", self.huber_delta, 0 < self.huber_delta < math.inf, "above 0 and finite")
        _require("noise_offset", self.noise_offset, 0 <= self.noise_offset < math.inf, "at least 0 and finite")
        ratio = self.loraplus_ratio
        _require("loraplus_ratio", ratio, ratio is None or 0 < ratio < math.inf, "above 0 and finite, or None")
        _require("tag_dropout", self.tag_dropout, 0 <= self.tag_dropout <= 1, "in [0, 1]")
        _require("keep_tokens", self.keep_tokens, self.keep_tokens >= 0, "at least 0")
        _require("prior_weight", self.prior_weight, 0 <= self.prior_weight < math.inf, "at least 0 and finite")
        _require("mask", self.mask, self.mask in (None, *get_args(MaskSource)), "file, alpha or None")
        policy = self.on_invalid_image
        _require("on_invalid_image", policy, policy in get_args(OnInvalidImage), "skip or stop")
        if self.loss not in get_args(LossName):
            raise unknown_name_error("loss", self.loss, get_args(LossName))
        if self.schedule not in (*SCHEDULES, ONE_CYCLE):
            raise unknown_name_error("schedule", self.schedule, (*SCHEDULES, ONE_CYCLE))
        _require("cycles", self.cycles, self.cycles == 1 or self.schedule != ONE_CYCLE, f"1 with `{ONE_CYCLE}`")
        check_options(self.optimizer, self.optimizer_options)
        is_valid = self.ema_decay is None or not OPTIMIZERS[self.optimizer].keeps_average
        _require("ema_decay", self.ema_decay, is_valid, f"None with `{self.optimizer}`")
        if OPTIMIZERS[self.optimizer].adapts_lr:
            self._check_adaptive_rate()

    def _check_times(self) -> None:
        shift, density, options = self.timestep_shift, self.timestep_density, self.timestep_density_options
        _require("timestep_shift", shift, shift is None or 0 < shift < math.inf, "above 0 and finite, or None")
        if density is None:
            _require("timestep_density_options", options, not options, "empty without `timestep_density`")
        else:
            check_density(density, options)
        if self.loss_weighting is not None and self.loss_weighting not in LOSS_WEIGHTINGS:
            raise unknown_name_error("loss_weighting", self.loss_weighting, LOSS_WEIGHTINGS)

    def _check_adaptive_rate(self) -> None:
        """The optimizer estimates its learning rate: the setting is a factor, the same for all parameters."""
        text = self.text_encoder_learning_rate
        rule = f"near 1 (0.1 to 10) with `{self.optimizer}`, which estimates the rate itself and takes this as a factor"
        _require("learning_rate", self.learning_rate, 0.1 <= self.learning_rate <= 10, rule)
        is_uniform = text in (None, 0, self.learning_rate)
        _require("text_encoder_learning_rate", text, is_uniform, f"None, 0 or `learning_rate` with `{self.optimizer}`")
        ratio = self.loraplus_ratio
        _require("loraplus_ratio", ratio, ratio in (None, 1), f"None with `{self.optimizer}`")

    @property
    def effective_batch_size(self) -> int:
        """Images per optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def augments_captions(self) -> bool:
        """Whether captions are augmented at each step."""
        return self.shuffle_tags or self.tag_dropout > 0

    def steps_for(self, image_count: int) -> int:
        """Optimizer steps for a number of images, counting repeats but not prior ones.

        Raises:
            InputError: the warm-up is longer than the run.
        """
        steps = self.steps_after(self.length, image_count)
        _require("warmup_steps", self.warmup_steps, self.warmup_steps <= steps, f"at most the run's {steps} steps")
        return steps

    @property
    def length(self) -> float:
        """Length of the run, in `unit`."""
        return self.steps or self.epochs or 0

    @property
    def unit(self) -> str:
        """Unit of the run's length: ``"step"`` or ``"epoch"``."""
        return "step" if self.epochs is None else "epoch"

    def steps_after(self, count: float, image_count: int) -> int:
        """Optimizer steps in a part of the run, given in `unit`; partial steps are rounded up."""
        return round(count) if self.epochs is None else math.ceil(count * image_count / self.effective_batch_size)

    def epochs_after(self, step: int, image_count: int) -> float:
        """Times that each image was seen after a number of steps, on average."""
        return step * self.effective_batch_size / image_count


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"Argument `{name}` must be {rule}, but got {value!r}.")
