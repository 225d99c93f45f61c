"""Training for a given time: learning rate schedule, averaged weights and resumable checkpoints.

The learning rate warms up, stays constant and falls to zero at the end of the given minutes. A later run of the same
model loads the checkpoint (weights, their average, optimizer, sample count), warms up and continues, so that several
short runs add up to a long one.
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

from lycoris.cache.atomic import atomic_write
from lycoris.pocket.training.muon import MuonAdam

WARMUP_STEPS = 60
REPORT_INTERVAL_S = 30.0


def device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision() -> torch.autocast:
    """Autocast to bfloat16 where the device supports it natively; without effect elsewhere."""
    kind = device().type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" or torch.cpu._is_avx512_bf16_supported())


def init_distributed() -> None:
    """Join the process group when started by torchrun; on a CPU, limit each process to one thread."""
    if device().type == "cpu":
        torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


@dataclass(frozen=True)
class TimeBudget:
    """Duration of a training run.

    Args:
        minutes: limit in minutes.
        cpu_time: count CPU time of this process instead of wall time, so that a busy machine does not shorten the
            training. Not useful with a GPU.
    """

    minutes: float
    cpu_time: bool = False

    def now(self) -> float:
        """Seconds on the clock that the limit applies to."""
        return time.process_time() if self.cpu_time else time.monotonic()


@dataclass(frozen=True)
class TrainerConfig:
    """Hyperparameters of a training.

    Args:
        peak_lr: the constant learning rate between warm-up and cooldown.
        average_decay: decay of the averaged weights after their warm-up.
        cooldown: share of the run in which the learning rate falls.
        adam_only: see `MuonAdam`.
        weight_decay: see `MuonAdam`.
        save_interval_s: seconds between checkpoints.
    """

    peak_lr: float
    average_decay: float = 0.998
    cooldown: float = 0.4
    adam_only: tuple[str, ...] = ()
    weight_decay: float = 0.01
    save_interval_s: float = 120.0


class Trainer:
    """The state of one training.

    Args:
        name: name of the model and its checkpoint.
        modules: modules to train, by name.
        config: hyperparameters.
        budget: duration of this run.
        work: folder of the checkpoints.
    """

    def __init__(
        self, name: str, modules: Mapping[str, nn.Module], config: TrainerConfig, *, budget: TimeBudget, work: Path
    ) -> None:
        self.name, self.modules, self.config, self.budget = name, dict[str, Any](modules), config, budget
        self.optimizer = MuonAdam(self.modules.values(), adam_only=config.adam_only, weight_decay=config.weight_decay)
        self.average = [parameter.detach().clone() for parameter in self.optimizer.parameters]
        self.samples = self.steps = self.steps_this_run = 0
        self.loss = float("nan")
        self.rank, self.world_size = self.optimizer.rank, self.optimizer.world_size
        self.path = work / "checkpoints" / f"{name}.pt"
        self.resumed = self._load()
        self.generator = torch.Generator().manual_seed(1000 * self.samples + self.rank)
        self.started = self.last_save = self.last_report = time.monotonic()
        self._budget_started = budget.now()
        self._elapsed_fraction = 0.0

    def _load(self) -> bool:
        if not self.path.exists():
            return False
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for average, saved in zip(self.average, state["average"], strict=True):
            average.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.samples, self.steps = state["samples"], state["steps"]
        return True

    def save(self) -> None:
        """Write the checkpoint atomically."""
        self.last_save = time.monotonic()
        if self.rank:
            return
        state = {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "samples": self.samples,
            "steps": self.steps,
        }
        with atomic_write(self.path) as temporary:
            torch.save(state, temporary)

    def has_time(self) -> bool:
        """Whether time is left; all processes get the same answer."""
        fraction = torch.tensor([(self.budget.now() - self._budget_started) / (60 * self.budget.minutes)])
        if self.world_size > 1:
            dist.broadcast(fraction, 0)
        self._elapsed_fraction = float(fraction)
        return self._elapsed_fraction < 1

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        warmup = min(1.0, (self.steps_this_run + 1) / WARMUP_STEPS)
        return self.config.peak_lr * warmup * min(1.0, (1 - self._elapsed_fraction) / self.config.cooldown + 0.01)

    def step(self, loss: Tensor, batch_size: int) -> None:
        """Update the weights from the loss of one batch of this process; report and save at intervals."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step(self.learning_rate())
        self.steps += 1
        self.steps_this_run += 1
        self.samples += batch_size * self.world_size
        decay = min(self.config.average_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.optimizer.parameters], 1 - decay)
        now = time.monotonic()
        if now - self.last_report > REPORT_INTERVAL_S:
            self._report(loss.item(), batch_size, now)
        if now - self.last_save > self.config.save_interval_s:
            self.save()

    def _report(self, loss: float, batch_size: int, now: float) -> None:
        self.loss = loss if self.loss != self.loss else 0.8 * self.loss + 0.2 * loss
        self.last_report = now
        if self.rank == 0:
            speed = self.steps_this_run * batch_size * self.world_size / (now - self.started)
            minutes = (now - self.started) / 60
            line = f"{self.name}: {minutes:.1f} min, {self.samples} samples, {speed:.1f}/s, loss {self.loss:.4f}"
            print(line, flush=True)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Put the averaged weights into the modules and set evaluation mode while the context is open."""
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
        for parameter, average in zip(self.optimizer.parameters, self.average, strict=True):
            weights = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(weights)
