"""From gradients to parameters: rate, loss scaling, clipping, the optimiser's step and the average of the weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.training.config import TrainingSettings
from lycoris.training.optim.optimizers import OPTIMIZERS, build_optimizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


class RunOptimizer:
    """The optimiser of one run, and all of it that changes from step to step.

    Args:
        parameters: all that is trained, by name.
        groups: the same as `groups_of` gives them.
        settings: of the run.
        half: whether the base computes in float16, whose gradients vanish unless the loss is scaled up (Micikevicius
            et al., "Mixed Precision Training", section 3.2).

    Raises:
        InputError: the optimiser cannot be had, or refuses its settings.
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
        # Any, for schedule-free's `train` and `eval` are not torch's.
        self._optimizer: Any = build_optimizer(groups, settings)
        self._keeps_average = OPTIMIZERS[settings.optimizer].keeps_average
        self._scaler = torch.amp.GradScaler(self._parameters[0].device.type, enabled=float16)
        self._ema = None
        if settings.ema_decay is not None:
            self._ema = EMAModel(self._parameters, decay=settings.ema_decay, foreach=True)

    def begin_step(self, lr_scale: float) -> None:
        """Make ready for a step at a fraction of the top rates."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["top"] * lr_scale
        self._optimizer.zero_grad(set_to_none=True)
        if self._keeps_average:
            self._optimizer.train()

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss as it is to be differentiated."""
        return self._scaler.scale(loss)

    def step(self) -> Tensor:
        """Move the parameters by the gradients that are there.

        Returns:
            The gradient's norm before clipping; 0 where it overflowed for the scale's sake, and the step was left out.
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
        """The network holds the weights that it is to be saved and drawn with; afterwards the trained ones again.

        They differ where an average is kept, by `ema_decay` or by a schedule-free optimiser.
        """
        if self._ema is None and not self._keeps_average:
            yield
            return
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self._load_averaged()
        try:
            yield
        finally:
            if self._keeps_average:
                self._optimizer.train()
            with torch.no_grad():
                for parameter, value in zip(self._parameters, kept, strict=True):
                    parameter.copy_(value)

    def finish(self) -> None:
        """Leave the weights that the network is to be saved and drawn with, and no gradients."""
        self._load_averaged()
        self._optimizer.zero_grad(set_to_none=True)

    def _load_averaged(self) -> None:
        if self._ema is not None:
            self._ema.copy_to(self._parameters)
        elif self._keeps_average:
            self._optimizer.eval()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a later `restore` needs: tensors as "kind/parameter", and plain numbers."""
        tensors = {f"weight/{name}": parameter.detach() for name, parameter in self._named_parameters.items()}
        numbers: dict[str, dict[str, float]] = {}
        for name, parameter in self._named_parameters.items():
            for kind, value in self._optimizer.state[parameter].items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{kind}/{name}"] = value
                else:
                    numbers.setdefault(name, {})[kind] = value
        groups = [
            {name: value for name, value in group.items() if isinstance(value, int | float)}
            for group in self._optimizer.param_groups
        ]
        plain: dict[str, Any] = {"groups": groups, "moments": numbers, "scaler": self._scaler.state_dict()}
        if self._ema is not None:
            plain["averaged"] = self._ema.optimization_step
            tensors |= {f"average/{n}": s for n, s in zip(self._named_parameters, self._ema.shadow_params, strict=True)}
        return tensors, plain

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Bring back what `state` gave, in place."""
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
