"""The optimisers, a line each, and the parameters in groups of one rate."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    from torch.nn import Parameter

    from lycoris.training.config import TrainingSettings

RESERVED_OPTIONS = frozenset({"params", "lr", "betas", "weight_decay"})
"""Of a constructor's arguments those that are settings of their own."""


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimiser of a library.

    Attributes:
        module, name: where its class is.
        defaults: options in place of the class's own defaults.
        package: what to install where the module is absent.
        gpu: whether it runs on a CUDA device alone.
        finds_rate: whether it finds its rate, of which the learning rate is then a factor, one for all parameters.
        averages: whether the weights to be used are an average that it keeps, given by its `eval()`.
    """

    module: str
    name: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""
    cuda_only: bool = False
    adapts_lr: bool = False
    keeps_average: bool = False

    def load_class(self) -> Callable[..., torch.optim.Optimizer]:
        """Its class.

        Raises:
            InputError: the library is not installed; it says how to.
        """
        try:
            return getattr(importlib.import_module(self.module), self.name)
        except ImportError as error:
            raise InputError(
                f"Optimizer `{self.name}` needs the package {self.package}: `pip install {self.package}` ({error})."
            ) from error

    def option_names(self) -> list[str]:
        """Names of the options that can be given to it."""
        return [name for name in inspect.signature(self.load_class()).parameters if name not in RESERVED_OPTIONS]


# Adapters start at or near 0, where steps in proportion to the weights, Adafactor's own way, would not leave it.
OPTIMIZERS: dict[str, OptimizerSpec] = {
    "adamw": OptimizerSpec("torch.optim", "AdamW", {"fused": True}),
    "adamw-8bit": OptimizerSpec("bitsandbytes.optim", "AdamW8bit", package="bitsandbytes", cuda_only=True),
    "adafactor": OptimizerSpec(
        "transformers.optimization", "Adafactor", {"scale_parameter": False, "relative_step": False}
    ),
    "prodigy": OptimizerSpec(
        "prodigyopt", "Prodigy", {"use_bias_correction": True, "safeguard_warmup": True}, adapts_lr=True
    ),
    "lion": OptimizerSpec("lion_pytorch", "Lion"),
    "schedule-free-adamw": OptimizerSpec("schedulefree", "AdamWScheduleFree", keeps_average=True),
}
"""AdamW: Loshchilov & Hutter, "Decoupled Weight Decay Regularization"; 8 bits: Dettmers et al., "8-bit Optimizers via
Block-wise Quantization"; Adafactor: Shazeer & Stern; Prodigy: Mishchenko & Defazio; Lion: Chen et al., "Symbolic
Discovery of Optimization Algorithms"; schedule-free: Defazio et al., "The Road Less Scheduled"."""


def check_options(optimizer: str, options: Mapping[str, Any]) -> None:
    """See that an optimiser is known and takes the options.

    Raises:
        InputError: the optimiser or an option is unknown, or its library is not installed.
    """
    if optimizer not in OPTIMIZERS:
        raise unknown_name_error("optimizer", optimizer, OPTIMIZERS)
    for name in options:
        if name in RESERVED_OPTIONS:
            raise InputError(f"Argument `optimizer_options` must leave `{name}` to the setting of its own.")
        if name not in OPTIMIZERS[optimizer].option_names():
            raise unknown_name_error(f"option of optimizer `{optimizer}`", name, OPTIMIZERS[optimizer].option_names())


def parameter_groups(
    parameters: Sequence[Parameter],
    text_positions: Collection[int],
    lr_factors: Mapping[int, float],
    settings: TrainingSettings,
) -> list[dict[str, Any]]:
    """The parameters as `torch.optim` takes them, one group a rate.

    Args:
        parameters: all that is trained.
        of_text: positions of those that belong to the text encoder.
        factors: `id` of a parameter to the factor on its rate; 1 where none is given.
        settings: rates.

    Returns:
        Groups with `params`, `lr`, and under ``"top"`` the rate at the top of the schedule.
    """
    text_rate = settings.text_encoder_learning_rate
    groups: dict[float, list[Parameter]] = {}
    for place, parameter in enumerate(parameters):
        rate = settings.learning_rate if text_rate is None or place not in text_positions else text_rate
        groups.setdefault(rate * lr_factors.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": some, "lr": rate, "top": rate} for rate, some in groups.items()]


def build_optimizer(groups: Sequence[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name.

    Args:
        groups: as `groups_of` gives them.
        settings: name, options, betas and weight decay; betas go to those that have them.

    Raises:
        InputError: its library is not installed, there is no GPU and it needs one, or it refuses a value.
    """
    kind = OPTIMIZERS[settings.optimizer]
    device = groups[0]["params"][0].device
    if kind.cuda_only and device.type != "cuda":
        raise InputError(
            f"Optimizer `{settings.optimizer}` needs a base on a CUDA device and the package {kind.package} "
            f"(`pip install {kind.package}`), but the base is on {device.type}."
        )
    make = kind.load_class()
    taken = inspect.signature(make).parameters
    given = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
    options = {name: value for name, value in given.items() if name in taken}
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Prodigy tells of its weight decay
            return make(list(groups), **{**options, **kind.defaults, **settings.optimizer_options})
    except (ValueError, TypeError, AssertionError, RuntimeError) as error:
        raise InputError(f"Optimizer `{settings.optimizer}` does not take its settings: {error}") from error
