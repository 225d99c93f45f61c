"""Several processes on one run: each takes its part of a step's pictures, and all take the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


@dataclass(frozen=True)
class ProcessGroup:
    """The process group of `torch.distributed`, where one was begun; else this process alone.

    Attributes:
        rank: of this process.
        count: of processes.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def current(cls) -> ProcessGroup:
        """As `torchrun` or `accelerate launch` began them and `init_process_group` joined them."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def owns(self, position: int) -> bool:
        """Whether a step's picture of that position is this process's."""
        return position % self.world_size == self.rank

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[Parameter], loss: Tensor) -> Tensor:
        """Put the sum over all processes into each gradient; a parameter that none has a gradient of keeps none.

        Args:
            parameters: the same in every process.
            loss: this process's part of the step's mean.

        Returns:
            The sum of the losses.
        """
        if self.world_size == 1:
            return loss
        there = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=loss.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        sizes = [gradient.numel() for gradient in gradients]
        sums = torch.cat([*(gradient.flatten().float() for gradient in gradients), there, loss.float().reshape(1)])
        dist.all_reduce(sums)
        *parts, found, total = sums.split([*sizes, len(there), 1])
        for parameter, part, has in zip(parameters, parts, found.tolist(), strict=True):
            if has:
                gradient = torch.empty_like(parameter)
                parameter.grad = gradient.copy_(part.view_as(parameter))
        return total.reshape(())

    def sum(self, local: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.world_size == 1:
            return local
        whole = local.clone()
        dist.all_reduce(whole)
        return whole

    def any(self, local: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        if self.world_size == 1:
            return local
        flag = torch.tensor(float(local), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)


SINGLE_PROCESS = ProcessGroup()
