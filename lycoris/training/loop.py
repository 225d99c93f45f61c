"""The training loop, for one adapter or for several at once on one frozen base."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.errors import InputError
from lycoris.training.callbacks import Callback
from lycoris.training.compute_modes import compute_modes
from lycoris.training.config import TrainingSettings
from lycoris.training.data.image_dataset import Example
from lycoris.training.data.sampler import Batch
from lycoris.training.distributed import ProcessGroup
from lycoris.training.divergence import TrainingDivergedError
from lycoris.training.losses import compute_losses
from lycoris.training.timestep_bins import TIMESTEP_BINS, bin_sums
from lycoris.training.training_run import Trainable, TrainingJob, TrainingResult, TrainingRun

if TYPE_CHECKING:
    from lycoris.bases import Base

GPU_READ_INTERVAL = 16
"""On a GPU losses are read, and progress told, once in so many steps, so that it need not wait for us."""


def train(
    base: Base,
    network: Trainable,
    examples: Sequence[Example],
    settings: TrainingSettings,
    *,
    seed: int,
    progress: Callable[[int, int, float], object] | None = None,
    deadline: float | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    cache_folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Train a network's parameters to predict the base's targets on captioned pictures.

    On a CPU the result is a function of the arguments to the last bit, however often it was interrupted. Where a
    `torch.distributed` process group was begun, each process takes its part of every step's pictures, and all end
    with the same weights.

    Args:
        base: with the network attached to its parts.
        network: left in evaluation mode.
        examples: pictures and their captions.
        settings: the dials.
        seed: of data order, times, noise and dropout.
        progress: called as (steps done, steps in all, latest loss).
        deadline: a reading of `time.monotonic` after which no step is begun.
        checkpoint: file of the run's state, taken up when there and written every `checkpoint_seconds` and at
            the end; remove it when the result is safe.
        checkpoint_seconds: least time between two writings.
        cache: folder for latents and for conditions of captions, shared between runs; without one they are held in
            memory.
        looks: what is to be looked at on the way, by the first of several processes; the result does not depend on it.

    Returns:
        Losses, what was seen, counts and times.

    Raises:
        InputError: no pictures, or none that can be used; nothing to train; or a state of another run.
        TrainingDiverged: the loss stopped being a number; the last good state stays in `checkpoint`.
    """

    def tell(_: int, *now: float) -> None:
        if progress is not None:
            progress(*now)  # type: ignore[arg-type]

    (done,) = co_train(
        base,
        [TrainingJob(network, examples, settings, seed, checkpoint, callbacks)],
        progress=tell,
        deadline=deadline,
        checkpoint_seconds=checkpoint_seconds,
        cache_folder=cache_folder,
    )
    if isinstance(done, TrainingDivergedError):
        raise done
    return done


def co_train(
    base: Base,
    jobs: Sequence[TrainingJob],
    *,
    progress: Callable[[int, int, int, float], object] | None = None,
    deadline: float | None = None,
    checkpoint_seconds: float = 30.0,
    cache_folder: Path | None = None,
) -> list[TrainingResult | TrainingDivergedError]:
    """Train several networks on one frozen base, their batches going through it as one.

    Each learns what it would have learned alone, but for rounding: to some 1e-6 of its size, since matrix products
    of other shapes round otherwise. A run that diverges leaves the others as they are.

    Args:
        base: with every job's network attached to its parts, and no other.
        jobs: what to train; their lengths, sizes and settings may differ.
        progress: called as (number of the job, steps done, steps in all, latest loss).
        deadline: a reading of `time.monotonic` after which no step is begun.
        checkpoint_seconds: least time between two writings of a job's state.
        cache: folder for latents and for conditions of captions, shared between runs.

    Returns:
        For each job its result, or why it has none.

    Raises:
        InputError: as for `train`.
    """
    if not jobs:
        raise InputError("Argument `jobs` must hold at least one job, but is empty.")
    began = time.monotonic()
    runs = [TrainingRun(base, job, cache_folder) for job in jobs]
    processes = ProcessGroup.current()
    _resume(runs)
    started = saved = time.monotonic()
    diverged: dict[int, TrainingDivergedError] = {}
    looked = 0.0
    shares = [BatchPartition() for _ in runs] if len(runs) > 1 else [None]
    try:
        for run, share in zip(runs, shares, strict=True):
            run.network.train()
            run.network.batch_partition = share
        dials = [run.settings for run in runs]
        with compute_modes(base, [run.network for run in runs], dials), _isolated_rng(base.device):
            looked += _run_callbacks(
                base, {number: run for number, run in enumerate(runs) if run.steps_done == 0}, shares
            )
            while waiting := {n: run for n, run in enumerate(runs) if not run.finished and n not in diverged}:
                if deadline is not None and processes.any(time.monotonic() >= deadline, base.device):
                    break
                _step(base, waiting, shares)
                read = {
                    number: run
                    for number, run in waiting.items()
                    if base.device.type == "cpu"
                    or run.steps_done % GPU_READ_INTERVAL == 0
                    or run.finished
                    or run.due_callbacks
                }
                diverged |= _read_losses(read)
                looked += _run_callbacks(
                    base, {number: run for number, run in read.items() if number not in diverged}, shares
                )
                if time.monotonic() - saved >= checkpoint_seconds or any(run.finished for run in waiting.values()):
                    diverged |= _save({number: run for number, run in waiting.items() if number not in diverged})
                    saved = time.monotonic()
                for number, run in read.items():
                    if progress is not None and number not in diverged:
                        progress(number, run.steps_done, run.steps, run.losses[-1])
            diverged |= _save({number: run for number, run in enumerate(runs) if number not in diverged})
    finally:
        for run in runs:
            run.network.batch_partition = None
            run.finish()
    seconds, preparation = time.monotonic() - started - looked, started - began
    return [diverged.get(number) or run.result(seconds, preparation) for number, run in enumerate(runs)]


def _resume(runs: Sequence[TrainingRun]) -> None:
    """Take runs up where all were at once, if there is such a step, so that they end as if never interrupted."""
    saved = [run.checkpoint_steps() for run in runs]
    newest = min(max(steps) for steps in saved)
    common = newest if all(newest in steps for steps in saved) else None
    for run, steps in zip(runs, saved, strict=True):
        finished = run.steps in steps
        run.resume(max(steps) if common is None or finished else common)


def _read_losses(runs: dict[int, TrainingRun]) -> dict[int, TrainingDivergedError]:
    """Fetch losses from the device; the runs of which one is no number."""
    lost = {}
    for number, run in runs.items():
        try:
            run.read_losses()
        except TrainingDivergedError as error:
            lost[number] = error
    return lost


def _save(runs: dict[int, TrainingRun]) -> dict[int, TrainingDivergedError]:
    """Write the runs' states, and when all are there drop those before; the runs that turn out to be lost."""
    lost = _read_losses(runs)
    for number, run in runs.items():
        if number not in lost:
            run.save_checkpoint()
    for run in runs.values():
        run.commit_checkpoint()
    return lost


@torch.no_grad()
def _run_callbacks(base: Base, runs: dict[int, TrainingRun], partitions: Sequence[BatchPartition | None]) -> float:
    """Look at what is due in each run, its network acting alone; how long it took, in seconds."""
    began = time.monotonic()
    for number, run in runs.items():
        if run.due_callbacks:
            _assign_rows(partitions, {number: 1})  # of one: all of whatever batch a look makes
            with _isolated_rng(base.device):
                run.run_callbacks()
    return time.monotonic() - began


def _step(base: Base, runs: dict[int, TrainingRun], partitions: Sequence[BatchPartition | None]) -> None:
    """One optimiser step of each run."""
    totals = {number: torch.zeros((), device=base.device) for number in runs}
    sums = {number: torch.zeros(2, len(TIMESTEP_BINS), device=base.device) for number in runs}
    for part, group in _group_batches(runs, partitions):
        _assign_rows(partitions, {number: len(batch.latents) for number, batch in group.items()})
        for number, batch in group.items():
            _seed_network(partitions[number], runs[number].step_seed("network", *batch.latents.shape[2:], part))
            runs[number].network.timestep = batch.timesteps  # for adapters that act by it
        errors = compute_losses(base, list(group.values()), [runs[number].loss for number in group])
        losses = {
            number: each.sum() / runs[number].settings.effective_batch_size
            for number, each in zip(group, errors, strict=True)
        }
        for (number, batch), own in zip(group.items(), errors, strict=True):
            totals[number] += losses[number].detach()
            sums[number] += bin_sums(runs[number].loss.forward_process.noise_level(batch.timesteps), own)
        torch.stack([runs[number].scale_loss(loss) for number, loss in losses.items()]).sum().backward()
        for number in group:
            runs[number].network.timestep = None
    for number, run in runs.items():
        run.end_step(totals[number], sums[number])


def _group_batches(
    runs: dict[int, TrainingRun], partitions: Sequence[BatchPartition | None]
) -> Iterator[tuple[int, dict[int, Batch]]]:
    """What the runs are trained on in this step: run to batch, those of one size together, and which of its size."""
    sizes: dict[tuple[torch.Size, int], dict[int, Batch]] = {}
    for number, run in runs.items():
        seen: Counter[torch.Size] = Counter()
        _assign_rows(partitions, {number: 1})  # its texts are encoded by itself
        batches = run.begin_step()
        for place in itertools.count():
            _seed_network(partitions[number], run.step_seed("text", place))
            batch = next(batches, None)
            if batch is None:
                break
            size = batch.latents.shape[1:]
            part, seen[size] = seen[size], seen[size] + 1
            if len(runs) == 1:
                yield part, {number: batch}
            else:
                sizes.setdefault((size, part), {})[number] = batch
    for (_, part), group in sizes.items():
        yield part, group


def _seed_network(partition: BatchPartition | None, seed: int) -> None:
    """Let what a network draws next follow from a seed."""
    if partition is None:
        torch.manual_seed(seed)
    else:
        partition.reset_stream(seed)


def _assign_rows(partitions: Sequence[BatchPartition | None], counts: dict[int, int]) -> None:
    """Divide a batch's rows among the runs that have some; the others' networks do not act on it."""
    total = sum(counts.values())
    start = 0
    for number, share in enumerate(partitions):
        if share is not None:
            stop = start + counts.get(number, 0)
            share.rows, share.total_rows, start = (start, stop), total, stop


@contextlib.contextmanager
def _isolated_rng(device: torch.device) -> Iterator[None]:
    """Leave the process's random state as it was found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
