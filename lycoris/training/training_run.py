"""One adapter's training in progress: what it learns from, its optimiser, its losses, its state on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lycoris.cache.store import file_digest
from lycoris.data.images import mask_file
from lycoris.errors import InputError
from lycoris.training.callbacks import Look, Moment
from lycoris.training.checkpointing import RunState
from lycoris.training.config import TrainingSettings
from lycoris.training.data.caption_encoding import Texts, text_parameters
from lycoris.training.data.image_dataset import Example, Pictures
from lycoris.training.data.sampler import Batch, Batches
from lycoris.training.distributed import Processes
from lycoris.training.divergence import TrainingDiverged, has_left, is_high
from lycoris.training.history import Record
from lycoris.training.losses import Loss
from lycoris.training.optim.optimizer_step import Optimization
from lycoris.training.optim.optimizers import groups_of
from lycoris.training.optim.schedules import rate_fraction
from lycoris.training.seeding import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from lycoris.adapters.layers.batch_partition import Share
    from lycoris.bases import Base


class Trainable(Protocol):
    """What training asks of an attached network.

    Attributes:
        timestep: set to the batch's while the base predicts.
        share: set while several networks are trained on one base together.
    """

    timestep: Tensor | None
    share: Share | None

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameter_groups(self, learning_rate: float, *, ratio: float = ...) -> list[dict[str, Any]]: ...
    def train(self, mode: bool = True) -> object: ...
    def eval(self) -> object: ...


@dataclass(frozen=True)
class Job:
    """One adapter to train.

    Attributes:
        network: attached to the base's parts; left in evaluation mode.
        examples: pictures and their captions.
        settings: the dials.
        seed: of data order, times, noise and dropout.
        checkpoint: file of the run's state, taken up when there; None keeps none.
        looks: what is to be looked at on the way; nothing that is trained depends on it.
    """

    network: Trainable
    examples: Sequence[Example]
    settings: TrainingSettings
    seed: int
    checkpoint: Path | None = None
    looks: Sequence[Look] = ()


@dataclass(frozen=True)
class TrainingResult:
    """What a run did.

    Attributes:
        losses: mean loss of each step's batch.
        bands: the same by how noisy the pictures were: name of `BANDS` to a mean a step, None where none was so.
        seen: what looks have found, in order: ``"count"``, ``"step"``, ``"epoch"`` and the look's own numbers.
        steps: steps done in all, those before a resumption included.
        epochs: how often each picture was seen in them, on average.
        seconds: spent in steps by this call, looks left out; of runs trained together, of all of them.
        preparation_seconds: spent on reading pictures and encoding.
        resumed_at: the step at which this call took up an earlier state; 0 for a fresh run.
        finished: whether all steps were done before the deadline.
        pictures: how many were used, prior ones included.
        set_aside: path to what is wrong with it, of the pictures that could not be used.
        upscaled: how many of the used ones are smaller than their bucket.
        buckets: pictures in each bucket, by its size written as "64x48".
        parameters: trained numbers.
        text_encoder_trained: whether the network adapts the text encoder.
    """

    losses: list[float]
    bands: dict[str, list[float | None]]
    seen: list[dict[str, float]]
    steps: int
    epochs: float
    seconds: float
    preparation_seconds: float
    resumed_at: int
    finished: bool
    pictures: int
    set_aside: dict[str, str]
    upscaled: int
    buckets: dict[str, int]
    parameters: int
    text_encoder_trained: bool


class Run:
    """A job under way.

    Args:
        base: with the job's network attached to its parts.
        job: what to train.
        cache: folder for latents and for conditions of captions, shared between runs.

    Attributes:
        steps: of the whole run.
        record: what was measured of the steps done, as far as it was read.
        taken: steps done, losses not yet read included.
        resumed_at: the step at which the run was taken up.

    Raises:
        InputError: no pictures, or none that can be used; nothing to train; or a state of another run.
    """

    def __init__(self, base: Base, job: Job, cache: Path | None = None) -> None:
        _check(base, job)
        self.job, self.network, self.settings = job, job.network, job.settings
        self._pictures = Pictures(
            base,
            [each.image for each in job.examples],
            flip=job.settings.flip,
            cache=cache,
            cached=job.settings.cache_encodings,
            mask=job.settings.mask,
            on_bad_picture=job.settings.on_bad_picture,
        )
        examples = [job.examples[row] for row in self._pictures.kept]
        self._shown = sum(each.repeats for each in examples if not each.prior)
        self.steps = job.settings.steps_for(self._shown)
        named = {name: each for name, each in job.network.named_parameters() if each.requires_grad}
        self._named, self.parameters = named, list(named.values())
        self.network.eval()
        of_text = text_parameters(base, self.parameters)
        self.text_encoder_trained = bool(of_text)
        groups = groups_of(self.parameters, of_text, _factors(job), job.settings)
        self._optimization = Optimization(named, groups, job.settings, half=base.dtype is torch.float16)
        self.loss = Loss.of(base, job.settings)
        self._processes = Processes.here()
        self._state = RunState(job.checkpoint, _identity(base, named, job, examples)) if job.checkpoint else None
        self.record = Record()
        self.resumed_at = self.taken = self._saved_at = 0
        texts = Texts(
            base,
            [each.caption for each in examples],
            adapted=self.text_encoder_trained,
            varied=job.settings.varies_captions,
            cached=job.settings.cache_encodings,
            cache=cache,
        )
        self._batches = Batches(self._pictures, texts, base.noise, job.settings, job.seed, examples, self._processes)
        self._unread: list[tuple[Tensor, Tensor, Tensor]] = []
        self._moments = [
            (look, moment) for look in job.looks for moment in look.when.moments(job.settings, self._shown)
        ]

    @property
    def losses(self) -> list[float]:
        """Mean loss of each step done, as far as they were read."""
        return self.record.losses

    @property
    def due(self) -> list[tuple[Look, Moment]]:
        """What is to be looked at before the next step; of several processes the first one looks."""
        if self._processes.rank:
            return []
        return [(look, moment) for look, moment in self._moments if moment.step == self.taken]

    def saved_steps(self) -> set[int]:
        """Steps after which the run can be taken up, 0 for its beginning.

        Raises:
            InputError: the state is damaged, or of another run.
        """
        return {0} | (self._state.steps() if self._state else set())

    def resume(self, step: int) -> None:
        """Take the run up after a step, one of `saved_steps()`."""
        if step and self._state:
            self.record, *state = self._state.read(step)
            self._optimization.restore(*state)
        self.resumed_at = self.taken = self._saved_at = step

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.taken == self.steps

    def begin(self) -> Iterator[Batch]:
        """Make ready for the next step, and give what it is trained on, size by size."""
        dials = self.settings
        fraction = rate_fraction(dials.schedule, self.taken, self.steps, dials.warmup_steps, dials.cycles)
        self._optimization.begin(fraction)
        return self._batches(self.taken)

    def stream(self, *place: str | int) -> int:
        """Seed of what the network itself draws at one place of the next step."""
        own = ("process", self._processes.rank) if self._processes.rank else ()
        return derived_seed(self.job.seed, *own, *place, self.taken)

    def scaled(self, loss: Tensor) -> Tensor:
        """A part of the step's loss as it is to be differentiated."""
        return self._optimization.scaled(loss)

    def look(self) -> None:
        """Look at what is due, and note what was found."""
        self.network.eval()
        with self.used():
            for look, moment in self.due:
                found = look(self.network, moment)
                if found:
                    self.record.seen.append({**asdict(moment), **found})
        self.network.train()

    def end(self, loss: Tensor, sums: Float[Tensor, "2 bands"]) -> None:
        """Take the step, with the gradients that are there.

        Args:
            loss: mean over the step's pictures, still on the device.
            sums: of the step's losses by band, and how many there were, as `band_sums` gives them.
        """
        sums = self._processes.sum(sums)
        loss = self._processes.sum_gradients(self.parameters, loss)
        norm = self._optimization.step()
        self.taken += 1
        self._unread.append((loss, norm, sums))

    def read_losses(self) -> None:
        """Fetch the losses of the last steps from the device.

        Raises:
            TrainingDiverged: one is no number, or its gradient is not; or they have left their level.
        """
        if not self._unread:
            return
        losses, norms, bands = (torch.stack(each).cpu() for each in zip(*self._unread, strict=True))
        for loss, norm, sums in zip(losses.tolist(), norms.tolist(), bands, strict=True):
            self.record.bands.append(sums)
            self.losses.append(loss if math.isfinite(norm) or not math.isfinite(loss) else math.nan)
            if not math.isfinite(self.losses[-1]) or has_left(self.losses):
                raise TrainingDiverged(self.losses, self.settings)
        self._unread.clear()

    def save(self) -> None:
        """Write the state after the last step, where the job has a file for it and it is not there yet.

        Under way none is written after a step whose loss is far too high, so that a diverging run leaves a good one.
        """
        if is_high(self.losses) and not self.finished:
            return
        if self._state and self._saved_at < len(self.losses) == self.taken:
            if self._processes.rank == 0:
                self._state.write(self.record, *self._optimization.state())
            self._saved_at = self.taken

    def settle(self) -> None:
        """Tell that the runs trained together have all saved their last state."""
        if self._state and self._processes.rank == 0:
            self._state.settle()

    def used(self) -> AbstractContextManager[None]:
        """Within it the network holds the weights that it is saved and drawn with, the average where one is kept."""
        return self._optimization.used()

    def close(self) -> None:
        """Leave the network as it is used: averaged where that was asked for, evaluating, without gradients."""
        self.network.eval()
        self._optimization.close()

    def result(self, seconds: float, preparation_seconds: float) -> TrainingResult:
        """What was done, in these times."""
        return TrainingResult(
            losses=self.losses,
            bands=self.record.band_losses(),
            seen=self.record.seen,
            steps=len(self.losses),
            epochs=self.settings.epochs_after(len(self.losses), self._shown),
            seconds=seconds,
            preparation_seconds=preparation_seconds,
            resumed_at=self.resumed_at,
            finished=self.finished,
            pictures=len(self._pictures.kept),
            set_aside=self._pictures.set_aside,
            upscaled=self._pictures.upscaled,
            buckets=self._pictures.counts,
            parameters=sum(parameter.numel() for parameter in self.parameters),
            text_encoder_trained=self.text_encoder_trained,
        )


def _check(base: Base, job: Job) -> None:
    if not job.examples:
        raise InputError("Argument `examples` must hold at least one picture, but is empty.")
    if not any(parameter.requires_grad for _, parameter in job.network.named_parameters()):
        raise InputError("Argument `network` must have trainable parameters, but has none.")


def _factors(job: Job) -> dict[int, float]:
    """Factors on the rates of single parameters, by `id`."""
    if job.settings.loraplus_ratio is None:
        return {}
    groups = job.network.parameter_groups(1.0, ratio=job.settings.loraplus_ratio)
    return {id(parameter): group["lr"] for group in groups for parameter in group["params"]}


def _identity(base: Base, parameters: dict[str, nn.Parameter], job: Job, examples: Sequence[Example]) -> dict[str, str]:
    """What the run depends on, for its state to be recognised by."""
    pictures = hashlib.sha256()
    for example in examples:
        mask = mask_file(example.image) if job.settings.mask == "file" else None
        for file in (example.image, mask):
            pictures.update(file_digest(file).encode() if file is not None else b"-")
        pictures.update(f"{example.caption}\0{example.repeats}\0{example.prior}\0".encode())
    shapes = json.dumps({name: list(parameter.shape) for name, parameter in parameters.items()})
    return {
        "base": base.digest,
        "network": hashlib.sha256(shapes.encode()).hexdigest(),
        "examples": pictures.hexdigest(),
        "settings": json.dumps(asdict(job.settings), sort_keys=True),
        "seed": str(job.seed),
        "looks": json.dumps([look.identity for look in job.looks]),
    }
