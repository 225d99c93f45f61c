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

from lycoris.errors import InputError, unknown

if TYPE_CHECKING:
    from torch.nn import Parameter

    from lycoris.training.config import TrainingSettings

OURS = frozenset({"params", "lr", "betas", "weight_decay"})
"""Of a constructor's arguments those that are settings of their own."""


@dataclass(frozen=True)
class Kind:
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
    gpu: bool = False
    finds_rate: bool = False
    averages: bool = False

    def load(self) -> Callable[..., torch.optim.Optimizer]:
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

    def options(self) -> list[str]:
        """Names of the options that can be given to it."""
        return [name for name in inspect.signature(self.load()).parameters if name not in OURS]


# Adapters start at or near 0, where steps in proportion to the weights, Adafactor's own way, would not leave it.
OPTIMIZERS: dict[str, Kind] = {
    "adamw": Kind("torch.optim", "AdamW", {"fused": True}),
    "adamw-8bit": Kind("bitsandbytes.optim", "AdamW8bit", package="bitsandbytes", gpu=True),
    "adafactor": Kind("transformers.optimization", "Adafactor", {"scale_parameter": False, "relative_step": False}),
    "prodigy": Kind("prodigyopt", "Prodigy", {"use_bias_correction": True, "safeguard_warmup": True}, finds_rate=True),
    "lion": Kind("lion_pytorch", "Lion"),
    "schedule-free-adamw": Kind("schedulefree", "AdamWScheduleFree", averages=True),
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
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    for name in options:
        if name in OURS:
            raise InputError(f"Argument `optimizer_options` must leave `{name}` to the setting of its own.")
        if name not in OPTIMIZERS[optimizer].options():
            raise unknown(f"option of optimizer `{optimizer}`", name, OPTIMIZERS[optimizer].options())


def groups_of(
    parameters: Sequence[Parameter],
    of_text: Collection[int],
    factors: Mapping[int, float],
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
        rate = settings.learning_rate if text_rate is None or place not in of_text else text_rate
        groups.setdefault(rate * factors.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": some, "lr": rate, "top": rate} for rate, some in groups.items()]


def optimizer_of(groups: Sequence[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name.

    Args:
        groups: as `groups_of` gives them.
        settings: name, options, betas and weight decay; betas go to those that have them.

    Raises:
        InputError: its library is not installed, there is no GPU and it needs one, or it refuses a value.
    """
    kind = OPTIMIZERS[settings.optimizer]
    device = groups[0]["params"][0].device
    if kind.gpu and device.type != "cuda":
        raise InputError(
            f"Optimizer `{settings.optimizer}` needs a base on a CUDA device and the package {kind.package} "
            f"(`pip install {kind.package}`), but the base is on {device.type}."
        )
    make = kind.load()
    taken = inspect.signature(make).parameters
    given = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
    options = {name: value for name, value in given.items() if name in taken}
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Prodigy tells of its weight decay
            return make(list(groups), **{**options, **kind.defaults, **settings.optimizer_options})
    except (ValueError, TypeError, AssertionError, RuntimeError) as error:
        raise InputError(f"Optimizer `{settings.optimizer}` does not take its settings: {error}") from error
