"""The training loop, for one adapter or for several on one frozen base."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.errors import InputError
from lycoris.training.assistant import assisted
from lycoris.training.compute_modes import compute_modes
from lycoris.training.data.sampler import Batch
from lycoris.training.distributed import ProcessGroup
from lycoris.training.divergence import TrainingDivergedError
from lycoris.training.job import TrainingJob, TrainingResult
from lycoris.training.losses import compute_losses
from lycoris.training.timestep_bins import TIMESTEP_BINS, bin_sums
from lycoris.training.training_run import TrainingRun

if TYPE_CHECKING:
    from lycoris.bases import Base

GPU_READ_INTERVAL = 16
"""On a GPU, losses are read and progress is reported once in this many steps, so that it need not wait for the CPU."""

logger = logging.getLogger(__name__)


def train(
    base: Base,
    job: TrainingJob,
    *,
    progress: Callable[[int, int, float], object] | None = None,
    deadline: float | None = None,
    checkpoint_seconds: float = 30.0,
    cache_folder: Path | None = None,
) -> TrainingResult:
    """Train a network's parameters to predict the base's targets on captioned images.

    On a CPU the result is a function of the job, bit for bit, however often the training was interrupted. In a
    `torch.distributed` process group, each process takes its part of every step's images, and all end with the same
    weights.

    Args:
        base: the base, with the job's network attached to its parts.
        job: network, data, settings and seed.
        progress: called as (steps done, steps in total, latest loss).
        deadline: a reading of `time.monotonic` after which no step starts.
        checkpoint_seconds: least time between two checkpoints; one is written at the end in any case.
        cache_folder: folder for latents and text conditioning, shared between runs; None keeps them in memory.

    Returns:
        Losses, what callbacks returned, counts and times.

    Raises:
        InputError: there are no images, or no valid ones; there is nothing to train; or the checkpoint is of another
            run.
        TrainingDivergedError: the loss is no longer finite, or stays far above its earlier level. The last good state
            stays in the checkpoint.
    """

    def report(_: int, steps_done: int, steps: int, loss: float) -> None:
        if progress is not None:
            progress(steps_done, steps, loss)

    (result,) = co_train(
        base,
        [job],
        progress=report,
        deadline=deadline,
        checkpoint_seconds=checkpoint_seconds,
        cache_folder=cache_folder,
    )
    if isinstance(result, TrainingDivergedError):
        raise result
    return result


def co_train(
    base: Base,
    jobs: Sequence[TrainingJob],
    *,
    progress: Callable[[int, int, int, float], object] | None = None,
    deadline: float | None = None,
    checkpoint_seconds: float = 30.0,
    cache_folder: Path | None = None,
) -> list[TrainingResult | TrainingDivergedError]:
    """Train several networks on one frozen base, which processes their batches as one.

    Each network learns what it would learn alone, to about 1e-6 relative: matrix products of other shapes round
    differently. A run that diverges does not affect the others.

    Args:
        base: the base, with every job's network attached to its parts, and no other.
        jobs: what to train; lengths, image sizes and settings may differ.
        progress: called as (index of the job, steps done, steps in total, latest loss).
        deadline: as for `train`.
        checkpoint_seconds: as for `train`.
        cache_folder: as for `train`.

    Returns:
        For each job its result, or the error if it diverged.

    Raises:
        InputError: as for `train`.
    """
    if not jobs:
        raise InputError("Argument `jobs` must hold at least one job, but is empty.")
    if base.distilled is not None and any(job.settings.assistant is None for job in jobs):
        logger.warning("Base `%s` %s.", base.source, base.distilled)
    began = time.monotonic()
    runs = [TrainingRun(base, job, cache_folder) for job in jobs]
    process_group = ProcessGroup.current()
    _resume(runs)
    started = saved = time.monotonic()
    group = _RunGroup(base, runs)
    with group.attached():
        group.run_callbacks(number for number, run in group.runs.items() if run.steps_done == 0)
        while active := group.active():
            if deadline is not None and process_group.any(time.monotonic() >= deadline, base.device):
                break
            group.step(active)
            readable = [number for number in active if group.is_readable(number)]
            group.read_losses(readable)
            group.run_callbacks(readable)
            if time.monotonic() - saved >= checkpoint_seconds or any(runs[number].finished for number in active):
                group.save_checkpoints(active)
                saved = time.monotonic()
            for number in group.converging(readable):
                if progress is not None:
                    progress(number, runs[number].steps_done, runs[number].steps, runs[number].losses[-1])
        group.save_checkpoints(group.runs)
    seconds, preparation = time.monotonic() - started - group.callback_seconds, started - began
    return [group.diverged.get(number) or run.result(seconds, preparation) for number, run in group.runs.items()]


def _resume(runs: Sequence[TrainingRun]) -> None:
    """Resume runs from a step that all have reached, if there is one, so that they end as if never interrupted."""
    saved = [run.checkpoint_steps() for run in runs]
    newest = min(max(steps) for steps in saved)
    common = newest if all(newest in steps for steps in saved) else None
    for run, steps in zip(runs, saved, strict=True):
        finished = run.steps in steps
        run.resume(max(steps) if common is None or finished else common)


class _RunGroup:
    """Runs on one base, by index; of several, each network acts on its own rows of a batch.

    Attributes:
        runs: all runs.
        diverged: those that diverged.
        callback_seconds: time spent in callbacks.
    """

    def __init__(self, base: Base, runs: Sequence[TrainingRun]) -> None:
        self.runs = dict(enumerate(runs))
        self.diverged: dict[int, TrainingDivergedError] = {}
        self.callback_seconds = 0.0
        self._base = base
        self._partitions = [BatchPartition() if len(runs) > 1 else None for _ in runs]

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Set networks and base up for training, and leave the networks ready for use."""
        runs = list(self.runs.values())
        try:
            for run, partition in zip(runs, self._partitions, strict=True):
                run.network.train()
                run.network.batch_partition = partition
            settings = [run.settings for run in runs]
            modes = compute_modes(self._base, [run.network for run in runs], settings)
            with assisted(self._base, settings), modes, _isolated_rng(self._base.device):
                yield
        finally:
            for run in runs:
                run.network.batch_partition = None
                run.finish()

    def active(self) -> list[int]:
        """Runs that still have steps to take."""
        return [number for number in self.converging(self.runs) if not self.runs[number].finished]

    def converging(self, numbers: Iterable[int]) -> list[int]:
        """Those of some runs that have not diverged."""
        return [number for number in numbers if number not in self.diverged]

    def is_readable(self, number: int) -> bool:
        """Whether to read a run's losses from the device after this step."""
        run = self.runs[number]
        on_interval = self._base.device.type == "cpu" or run.steps_done % GPU_READ_INTERVAL == 0
        return on_interval or run.finished or bool(run.due_callbacks)

    def read_losses(self, numbers: Iterable[int]) -> None:
        """Fetch losses from the device, and note which runs diverged."""
        for number in numbers:
            try:
                self.runs[number].read_losses()
            except TrainingDivergedError as error:
                self.diverged[number] = error

    def save_checkpoints(self, numbers: Iterable[int]) -> None:
        """Write the states of runs, and once all are written drop the previous ones."""
        candidates = self.converging(numbers)
        self.read_losses(candidates)
        for number in self.converging(candidates):
            self.runs[number].save_checkpoint()
        for number in candidates:
            self.runs[number].commit_checkpoint()

    @torch.no_grad()
    def run_callbacks(self, numbers: Iterable[int]) -> None:
        """Run the due callbacks of runs, with each network acting alone."""
        began = time.monotonic()
        for number in self.converging(numbers):
            if self.runs[number].due_callbacks:
                self._assign_rows({number: 1})  # all rows of any batch
                with _isolated_rng(self._base.device):
                    self.runs[number].run_callbacks()
        self.callback_seconds += time.monotonic() - began

    def step(self, numbers: Sequence[int]) -> None:
        """Take one optimizer step in each of some runs."""
        device = self._base.device
        totals = {number: torch.zeros((), device=device) for number in numbers}
        sums = {number: torch.zeros(2, len(TIMESTEP_BINS), device=device) for number in numbers}
        for part, batches in self._group_batches(numbers):
            self._assign_rows({number: len(batch.latents) for number, batch in batches.items()})
            for number, batch in batches.items():
                run = self.runs[number]
                self._seed_network(number, run.step_seed("network", *batch.latents.shape[2:], part))
                run.network.timestep = batch.timesteps  # for adapters that depend on it
            group = [self.runs[number] for number in batches]
            image_losses = compute_losses(self._base, list(batches.values()), [run.loss for run in group])
            losses = [
                values.sum() / run.settings.effective_batch_size
                for run, values in zip(group, image_losses, strict=True)
            ]
            for (number, batch), loss, values in zip(batches.items(), losses, image_losses, strict=True):
                totals[number] += loss.detach()
                levels = self.runs[number].loss.forward_process.noise_level(batch.timesteps)
                sums[number] += bin_sums(levels, values)
            scaled = [run.scale_loss(loss) for run, loss in zip(group, losses, strict=True)]
            torch.stack(scaled).sum().backward()
            for run in group:
                run.network.timestep = None
        for number in numbers:
            self.runs[number].end_step(totals[number], sums[number])

    def _group_batches(self, numbers: Sequence[int]) -> Iterator[tuple[int, dict[int, Batch]]]:
        """Batches of one step by run, those of one size together, each with its index among those of its size."""
        sizes: dict[tuple[torch.Size, int], dict[int, Batch]] = {}
        for number in numbers:
            counts: Counter[torch.Size] = Counter()
            self._assign_rows({number: 1})  # its captions are encoded alone
            batches = self.runs[number].begin_step()
            for position in itertools.count():
                self._seed_network(number, self.runs[number].step_seed("text", position))
                batch = next(batches, None)
                if batch is None:
                    break
                size = batch.latents.shape[1:]
                part, counts[size] = counts[size], counts[size] + 1
                if len(numbers) == 1:
                    yield part, {number: batch}
                else:
                    sizes.setdefault((size, part), {})[number] = batch
        for (_, part), group in sizes.items():
            yield part, group

    def _seed_network(self, number: int, seed: int) -> None:
        """Seed the randomness of a network's next forward pass."""
        partition = self._partitions[number]
        if partition is None:
            torch.manual_seed(seed)
        else:
            partition.reset_stream(seed)

    def _assign_rows(self, counts: Mapping[int, int]) -> None:
        """Divide a batch's rows among the runs that have some; the other networks do not act on it."""
        total = sum(counts.values())
        start = 0
        for number, partition in enumerate(self._partitions):
            if partition is not None:
                stop = start + counts.get(number, 0)
                partition.rows, partition.total_rows, start = (start, stop), total, stop


@contextlib.contextmanager
def _isolated_rng(device: torch.device) -> Iterator[None]:
    """Restore the process's random state on exit."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
