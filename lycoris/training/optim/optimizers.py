"""The table of optimizers: where each class is, its defaults and its options."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    import torch

RESERVED_OPTIONS = frozenset({"params", "lr", "betas", "weight_decay"})
"""Constructor arguments that are training settings of their own."""


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer class of a library.

    Attributes:
        module: module of the class.
        name: name of the class.
        defaults: options that replace the class's own defaults.
        package: package to install if the module is missing.
        cuda_only: whether it needs a CUDA device.
        adapts_lr: whether it estimates its learning rate; the `learning_rate` setting is then a factor on the estimate,
            the same for all parameters.
        keeps_average: whether the weights to use are an average that it keeps and that its `eval()` loads.
    """

    module: str
    name: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""
    cuda_only: bool = False
    adapts_lr: bool = False
    keeps_average: bool = False

    def load_class(self) -> Callable[..., torch.optim.Optimizer]:
        """Import the class.

        Raises:
            InputError: the library is not installed; the message says what to install.
        """
        try:
            return getattr(importlib.import_module(self.module), self.name)
        except ImportError as error:
            raise InputError(
                f"Optimizer `{self.name}` needs the package {self.package}: `pip install {self.package}` ({error})."
            ) from error

    def option_names(self) -> list[str]:
        """Names of the options that it accepts."""
        return [name for name in inspect.signature(self.load_class()).parameters if name not in RESERVED_OPTIONS]


# Adapters start at or near zero, so Adafactor must not scale its steps by the parameters' size, its own default.
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
    """Check that an optimizer is known and accepts the options.

    Raises:
        InputError: the optimizer or an option is unknown, or its library is not installed.
    """
    if optimizer not in OPTIMIZERS:
        raise unknown_name_error("optimizer", optimizer, OPTIMIZERS)
    for name in options:
        if name in RESERVED_OPTIONS:
            raise InputError(f"Argument `optimizer_options` must leave `{name}` to its own setting.")
        if name not in OPTIMIZERS[optimizer].option_names():
            raise unknown_name_error(f"option of optimizer `{optimizer}`", name, OPTIMIZERS[optimizer].option_names())
