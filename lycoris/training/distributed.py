"""Distributed training: each process computes a part of a step's images, and all take the same step."""

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
    """The process group of `torch.distributed` if it was initialized, else this process alone.

    Attributes:
        rank: rank of this process.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def current(cls) -> ProcessGroup:
        """The group that `init_process_group` joined, as under `torchrun` or `accelerate launch`."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def owns(self, position: int) -> bool:
        """Whether the image at a position of a step is this process's."""
        return position % self.world_size == self.rank

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[Parameter], loss: Tensor) -> Tensor:
        """Sum each gradient over all processes; a parameter without a gradient in any process stays without.

        Args:
            parameters: the same in every process.
            loss: this process's part of the step's mean.

        Returns:
            The sum of the losses.
        """
        if self.world_size == 1:
            return loss
        present = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=loss.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        sizes = [gradient.numel() for gradient in gradients]
        sums = torch.cat([*(gradient.flatten().float() for gradient in gradients), present, loss.float().reshape(1)])
        dist.all_reduce(sums)
        *parts, present_anywhere, total = sums.split([*sizes, len(present), 1])
        for parameter, part, has in zip(parameters, parts, present_anywhere.tolist(), strict=True):
            if has:
                gradient = torch.empty_like(parameter)
                parameter.grad = gradient.copy_(part.view_as(parameter))
        return total.reshape(())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, local: Tensor) -> Tensor:
        """Sum a tensor over all processes."""
        if self.world_size == 1:
            return local
        total = local.clone()
        dist.all_reduce(total)
        return total

    def any(self, local: bool, device: torch.device) -> bool:
        """Whether a condition holds in any process."""
        if self.world_size == 1:
            return local
        flag = torch.tensor(float(local), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)


SINGLE_PROCESS = ProcessGroup()
