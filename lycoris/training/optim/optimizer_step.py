"""From gradients to parameters: learning rates, loss scaling, clipping, the optimizer's step and averaged weights."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.errors import InputError
from lycoris.training.config import TrainingSettings
from lycoris.training.optim.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


def parameter_groups(
    parameters: Sequence[Parameter],
    text_positions: Collection[int],
    lr_factors: Mapping[int, float],
    settings: TrainingSettings,
) -> list[dict[str, Any]]:
    """Group parameters by learning rate, as `torch.optim` takes them.

    Args:
        parameters: all trained parameters.
        text_positions: positions of those that belong to a text encoder.
        lr_factors: `id` of a parameter to the factor on its learning rate, 1 if absent.
        settings: the learning rates.

    Returns:
        Groups with `params`, `lr`, and `base_lr`, the learning rate at the top of the schedule.
    """
    text_lr = settings.text_encoder_learning_rate
    groups: dict[float, list[Parameter]] = {}
    for position, parameter in enumerate(parameters):
        lr = settings.learning_rate if text_lr is None or position not in text_positions else text_lr
        groups.setdefault(lr * lr_factors.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": members, "lr": lr, "base_lr": lr} for lr, members in groups.items()]


def build_optimizer(groups: Sequence[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Build the optimizer that the settings name.

    Args:
        groups: from `parameter_groups`.
        settings: name, options, betas and weight decay; an optimizer gets those that it takes.

    Raises:
        InputError: its library is not installed, it needs a GPU and there is none, or it rejects a value.
    """
    spec = OPTIMIZERS[settings.optimizer]
    check_optimizer_device(settings.optimizer, groups[0]["params"][0].device)
    optimizer_class = spec.load_class()
    accepted = inspect.signature(optimizer_class).parameters
    common = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
    options = {name: value for name, value in common.items() if name in accepted}
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Prodigy prints its weight decay
            return optimizer_class(list(groups), **{**options, **spec.defaults, **settings.optimizer_options})
    except (ValueError, TypeError, AssertionError, RuntimeError) as error:
        raise InputError(f"Optimizer `{settings.optimizer}` rejects its settings: {error}") from error


def check_optimizer_device(optimizer: str, device: torch.device) -> None:
    """Check that an optimizer, a key of `OPTIMIZERS`, works on a device.

    Raises:
        InputError: it needs a GPU.
    """
    spec = OPTIMIZERS[optimizer]
    if spec.cuda_only and device.type != "cuda":
        raise InputError(
            f"Optimizer `{optimizer}` needs a base on a CUDA device and the package {spec.package} "
            f"(`pip install {spec.package}`), but the base is on {device.type}."
        )


class RunOptimizer:
    """The optimizer of one run, with everything about it that changes from step to step.

    Args:
        parameters: all trained parameters, by name.
        groups: the same, from `parameter_groups`.
        settings: settings of the run.
        float16: whether the base computes in float16, whose gradients vanish unless the loss is scaled up
            (Micikevicius et al., "Mixed Precision Training", section 3.2).

    Raises:
        InputError: the optimizer is not available, or rejects its settings.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        groups: Sequence[dict[str, Any]],
        settings: TrainingSettings,
        *,
        float16: bool,
    ) -> None:
        from diffusers.training_utils import EMAModel

        self._named_parameters, self._parameters = parameters, list(parameters.values())
        self._max_norm = math.inf if settings.clip_norm is None else settings.clip_norm
        # Any: torch's optimizers lack the `train` and `eval` of schedule-free ones.
        self._optimizer: Any = build_optimizer(groups, settings)
        self._keeps_average = OPTIMIZERS[settings.optimizer].keeps_average
        self._scaler = torch.amp.GradScaler(self._parameters[0].device.type, enabled=float16)
        self._ema = None
        if settings.ema_decay is not None:
            self._ema = EMAModel(self._parameters, decay=settings.ema_decay, foreach=True)

    def begin_step(self, lr_scale: float) -> None:
        """Prepare a step at a fraction of the base learning rates."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * lr_scale
        self._optimizer.zero_grad(set_to_none=True)
        if self._keeps_average:
            self._optimizer.train()

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Scale a loss for the backward pass."""
        return self._scaler.scale(loss)

    def step(self) -> Tensor:
        """Update the parameters from their gradients.

        Returns:
            The gradient's norm before clipping; 0 if it overflowed because of the loss scale, and the step was skipped.
        """
        scale = self._scaler.get_scale()
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm, foreach=True)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._ema is not None:
            self._ema.step(self._parameters)
        return norm.nan_to_num(0, 0, 0) if scale > 1 else norm

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Load the weights to save and generate with; restore the trained ones on exit.

        They differ if `ema_decay` or a schedule-free optimizer keeps an average.
        """
        if self._ema is None and not self._keeps_average:
            yield
            return
        trained = [parameter.detach().clone() for parameter in self._parameters]
        self._load_averaged()
        try:
            yield
        finally:
            if self._keeps_average:
                self._optimizer.train()
            with torch.no_grad():
                for parameter, value in zip(self._parameters, trained, strict=True):
                    parameter.copy_(value)

    def finish(self) -> None:
        """Leave the network with the weights to save and generate with, and without gradients."""
        self._load_averaged()
        self._optimizer.zero_grad(set_to_none=True)

    def _load_averaged(self) -> None:
        if self._ema is not None:
            self._ema.copy_to(self._parameters)
        elif self._keeps_average:
            self._optimizer.eval()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what `restore` needs: tensors as ``"kind/parameter"``, and plain numbers."""
        tensors = {f"weight/{name}": parameter.detach() for name, parameter in self._named_parameters.items()}
        moments: dict[str, dict[str, float]] = {}
        for name, parameter in self._named_parameters.items():
            for kind, value in self._optimizer.state[parameter].items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{kind}/{name}"] = value
                else:
                    moments.setdefault(name, {})[kind] = value
        groups = [
            {name: value for name, value in group.items() if isinstance(value, int | float)}
            for group in self._optimizer.param_groups
        ]
        numbers: dict[str, Any] = {"groups": groups, "moments": moments, "scaler": self._scaler.state_dict()}
        if self._ema is not None:
            numbers["averaged"] = self._ema.optimization_step
            tensors |= {f"average/{n}": s for n, s in zip(self._named_parameters, self._ema.shadow_params, strict=True)}
        return tensors, numbers

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore, in place, what `state` returned."""
        moments: dict[str, dict[str, Any]] = {
            name: dict(numbers["moments"].get(name, {})) for name in self._named_parameters
        }
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if name in moments and kind not in ("weight", "average"):
                moments[name][kind] = _match_layout(value, self._named_parameters[name])
        for name, parameter in self._named_parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            if moments[name]:
                self._optimizer.state[parameter] = moments[name]
        for group, values in zip(self._optimizer.param_groups, numbers["groups"], strict=True):
            group.update(values)
        if numbers["scaler"]:
            self._scaler.load_state_dict(numbers["scaler"])
        if self._ema is not None:
            self._ema.optimization_step = numbers["averaged"]
            for name, shadow in zip(self._named_parameters, self._ema.shadow_params, strict=True):
                shadow.copy_(tensors[f"average/{name}"])


def _match_layout(value: Tensor, parameter: Parameter) -> Tensor:
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
