"""One training on the clock: learning rate, averaged weights, and a checkpoint from which it goes on.

The rate warms up, stays constant and falls to zero at the end of the given minutes. A later run of the same part
loads the checkpoint (weights, average, optimiser, sample counter), warms up and goes on, so that any number of
short runs add up to a long training.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lycoris.pocket.training.muon import MuonAdam


def device() -> torch.device:
    """The first GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision() -> torch.autocast:
    """Convolutions and products in bfloat16 where the device computes with it natively, else nothing."""
    kind = device().type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" or torch.cpu._is_avx512_bf16_supported())


def init_distributed() -> None:
    """Meet the other processes when started by torchrun, and keep each to one thread on a processor."""
    if device().type == "cpu":
        torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


@dataclass(frozen=True)
class TimeBudget:
    """How long a training may last.

    Args:
        minutes: of wall time, or of computing.
        computing: count processor time of this process instead, so that a busy machine takes longer but learns
            as much. Only sensible without a GPU.
    """

    minutes: float
    cpu_time: bool = False

    def now(self) -> float:
        """Seconds on the clock that counts."""
        return time.process_time() if self.cpu_time else time.monotonic()


class Trainer:
    """The state of one training.

    Args:
        name: of the part; names the checkpoint.
        modules: what is trained, by name.
        budget: time of this run.
        work: folder of the checkpoints.
        rate: the constant learning rate.
        average: decay of the averaged weights once they are warm.
        cooldown: share of the run in which the rate falls.
        plain: see `MuonAdam`.
        decay: see `MuonAdam`.
    """

    def __init__(
        self,
        name: str,
        modules: Mapping[str, nn.Module],
        *,
        budget: TimeBudget,
        work: Path,
        rate: float,
        average: float = 0.998,
        cooldown: float = 0.4,
        plain: tuple[str, ...] = (),
        decay: float = 0.01,
        save_every: float = 120.0,
    ) -> None:
        self.name, self.modules, self.peak_lr = name, dict[str, Any](modules), rate
        self.budget, self.cooldown, self.decay_of_average = budget, cooldown, average
        self.optimiser = MuonAdam(self.modules.values(), plain=plain, decay=decay)
        self.average = [parameter.detach().clone() for parameter in self.optimiser.parameters]
        self.samples = self.steps = self.steps_this_run = 0
        self.loss = float("nan")
        self.rank, self.world_size = self.optimiser.rank, self.optimiser.world_size
        self.path = work / "checkpoints" / f"{name}.pt"
        self.save_every = save_every
        self.resumed = self._load()
        self.generator = torch.Generator().manual_seed(1000 * self.samples + self.rank)
        self.started = self.last_save = self.last_report = time.monotonic()
        self._begun = budget.now()
        self._fraction = 0.0

    def _load(self) -> bool:
        if not self.path.exists():
            return False
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for mine, saved in zip(self.average, state["average"], strict=True):
            mine.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        self.samples, self.steps = state["samples"], state["steps"]
        return True

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.last_save = time.monotonic()
        if self.rank:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "samples": self.samples,
            "steps": self.steps,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)

    def has_time(self) -> bool:
        """Whether there is time left; every process gets the same answer."""
        fraction = torch.tensor([(self.budget.now() - self._begun) / (60 * self.budget.minutes)])
        if self.world_size > 1:
            dist.broadcast(fraction, 0)
        self._fraction = float(fraction)
        return self._fraction < 1

    def learning_rate(self) -> float:
        warm = min(1.0, (self.steps_this_run + 1) / 60)
        return self.peak_lr * warm * min(1.0, (1 - self._fraction) / self.cooldown + 0.01)

    def step(self, loss: Tensor, batch: int) -> None:
        """Learn from one batch of `batch` samples on this process; report and save now and then."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step(self.learning_rate())
        self.steps += 1
        self.steps_this_run += 1
        self.samples += batch * self.world_size
        decay = min(self.decay_of_average, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.optimiser.parameters], 1 - decay)
        now = time.monotonic()
        if now - self.last_report > 30:
            value = loss.item()
            self.loss = value if self.loss != self.loss else 0.8 * self.loss + 0.2 * value
            self.last_report = now
            if self.rank == 0:
                speed = self.steps_this_run * batch * self.world_size / (now - self.started)
                minutes = (now - self.started) / 60
                line = f"{self.name} {minutes:.1f} min, {self.samples} samples, {speed:.1f}/s, loss {self.loss:.4f}"
                print(line, flush=True)
        if now - self.last_save > self.save_every:
            self.save()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The modules with their averaged weights, in evaluation mode."""
        self._swap()
        for module in self.modules.values():
            module.eval()
        try:
            yield
        finally:
            self._swap()
            for module in self.modules.values():
                module.train()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, mean in zip(self.optimiser.parameters, self.average, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)
