"""An optimizer step of a training, on tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lycoris.training.compute_modes import compute_modes
from lycoris.training.losses import TrainingLoss, compute_losses
from lycoris.training.optim.optimizer_step import RunOptimizer, parameter_groups

if TYPE_CHECKING:
    from torch import nn

    from lycoris.bases import Base
    from lycoris.planning.meter import Meter
    from lycoris.training.config import TrainingSettings
    from lycoris.training.data.sampler import Batch


@dataclass(frozen=True)
class TrainingStep:
    """A step of `lycoris.training.train` on one size of images, without reading images or losses."""

    base: Base
    network: Any
    named: Mapping[str, nn.Parameter]
    text_positions: set[int]
    settings: TrainingSettings
    batch: Callable[[int, bool], Batch]

    def run(self, meter: Meter) -> int:
        """Take a step with an optimizer that has its state, as it has from the second step on; return its FLOPs."""
        settings, parameters = self.settings, list(self.named.values())
        factors = {}
        if settings.loraplus_ratio is not None:
            groups = self.network.parameter_groups(1.0, ratio=settings.loraplus_ratio)
            factors = {id(each): group["lr"] for group in groups for each in group["params"]}
        groups = parameter_groups(parameters, self.text_positions, factors, settings)
        optimizer = RunOptimizer(self.named, groups, settings, float16=False)
        loss = TrainingLoss.from_settings(self.base, settings)
        passes = min(2, settings.gradient_accumulation_steps)
        with compute_modes(self.base, [self.network], [settings]):
            self.network.train()
            optimizer.begin_step(1.0)
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter)
            optimizer.step()
            optimizer.begin_step(1.0)
            for _ in range(passes):
                with meter.count_flops() as counted:
                    self._backward(loss, optimizer)
            optimizer.step()
            self.network.eval()
            optimizer.finish()
        return counted[0] * settings.gradient_accumulation_steps

    def _backward(self, loss: TrainingLoss, optimizer: RunOptimizer) -> None:
        count = self.settings.batch_size
        batch = self.batch(count, not self.text_positions)
        self.network.timestep = batch.timesteps
        (values,) = compute_losses(self.base, [batch], [loss])
        optimizer.scale_loss(values.sum() / self.settings.effective_batch_size).backward()
        self.network.timestep = None
