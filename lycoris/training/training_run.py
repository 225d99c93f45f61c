"""One adapter's training in progress: what it learns from, its optimiser, its losses, its state on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from lycoris.cache.integrity import file_digest
from lycoris.data.images import find_mask
from lycoris.errors import InputError
from lycoris.training.callbacks import Callback, TrainingPoint
from lycoris.training.checkpointing import CheckpointFile
from lycoris.training.config import TrainingSettings
from lycoris.training.data.caption_encoding import CaptionEncoder, text_parameter_positions
from lycoris.training.data.image_dataset import Example, ImageDataset
from lycoris.training.data.sampler import Batch, BatchSampler
from lycoris.training.distributed import ProcessGroup
from lycoris.training.divergence import TrainingDivergedError, has_diverged, is_spike
from lycoris.training.history import History
from lycoris.training.losses import TrainingLoss
from lycoris.training.optim.optimizer_step import RunOptimizer, parameter_groups
from lycoris.training.optim.schedules import lr_scale
from lycoris.training.seeding import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from lycoris.adapters.layers.batch_partition import BatchPartition
    from lycoris.bases import Base


@runtime_checkable
class Trainable(Protocol):
    """What training asks of an attached network.

    Attributes:
        timestep: set to the batch's while the base predicts.
        share: set while several networks are trained on one base together.
    """

    timestep: Tensor | None
    batch_partition: BatchPartition | None

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameter_groups(self, learning_rate: float, *, ratio: float = ...) -> list[dict[str, Any]]: ...
    def train(self, mode: bool = True) -> object: ...
    def eval(self) -> object: ...


@dataclass(frozen=True)
class TrainingJob:
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
    callbacks: Sequence[Callback] = ()


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
    binned_losses: dict[str, list[float | None]]
    callback_records: list[dict[str, float]]
    steps: int
    epochs: float
    seconds: float
    preparation_seconds: float
    resume_step: int
    finished: bool
    image_count: int
    skipped_images: dict[str, str]
    upscaled_count: int
    bucket_counts: dict[str, int]
    parameter_count: int
    trains_text_encoder: bool


class TrainingRun:
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

    def __init__(self, base: Base, job: TrainingJob, cache_folder: Path | None = None) -> None:
        _check_job(base, job)
        self.job, self.network, self.settings = job, job.network, job.settings
        self._dataset = ImageDataset(
            base,
            [each.image for each in job.examples],
            horizontal_flip=job.settings.horizontal_flip,
            cache_folder=cache_folder,
            use_cache=job.settings.cache_encodings,
            mask=job.settings.mask,
            on_invalid_image=job.settings.on_invalid_image,
        )
        examples = [job.examples[row] for row in self._dataset.valid_indices]
        self._epoch_length = sum(each.repeats for each in examples if not each.prior)
        self.steps = job.settings.steps_for(self._epoch_length)
        named = {name: each for name, each in job.network.named_parameters() if each.requires_grad}
        self._named_parameters, self.parameters = named, list(named.values())
        self.network.eval()
        of_text = text_parameter_positions(base, self.parameters)
        self.trains_text_encoder = bool(of_text)
        groups = parameter_groups(self.parameters, of_text, _lr_factors(job), job.settings)
        self._optimizer = RunOptimizer(named, groups, job.settings, float16=base.dtype is torch.float16)
        self.loss = TrainingLoss.from_settings(base, job.settings)
        self._process_group = ProcessGroup.current()
        self._checkpoint = (
            CheckpointFile(job.checkpoint, _run_identity(base, named, job, examples)) if job.checkpoint else None
        )
        self.history = History()
        self.resume_step = self.steps_done = self._saved_step = 0
        texts = CaptionEncoder(
            base,
            [each.caption for each in examples],
            trainable=self.trains_text_encoder,
            augmented=job.settings.augments_captions,
            use_cache=job.settings.cache_encodings,
            cache_folder=cache_folder,
        )
        self._sampler = BatchSampler(
            self._dataset, texts, base.forward_process, job.settings, job.seed, examples, self._process_group
        )
        self._unread: list[tuple[Tensor, Tensor, Tensor]] = []
        self._callback_points = [
            (look, moment)
            for look in job.callbacks
            for moment in look.schedule.points(job.settings, self._epoch_length)
        ]

    @property
    def losses(self) -> list[float]:
        """Mean loss of each step done, as far as they were read."""
        return self.history.losses

    @property
    def due_callbacks(self) -> list[tuple[Callback, TrainingPoint]]:
        """What is to be looked at before the next step; of several processes the first one looks."""
        if self._process_group.rank:
            return []
        return [(look, moment) for look, moment in self._callback_points if moment.step == self.steps_done]

    def checkpoint_steps(self) -> set[int]:
        """Steps after which the run can be taken up, 0 for its beginning.

        Raises:
            InputError: the state is damaged, or of another run.
        """
        return {0} | (self._checkpoint.steps() if self._checkpoint else set())

    def resume(self, step: int) -> None:
        """Take the run up after a step, one of `saved_steps()`."""
        if step and self._checkpoint:
            self.history, *state = self._checkpoint.read(step)
            self._optimizer.restore(*state)
        self.resume_step = self.steps_done = self._saved_step = step

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.steps_done == self.steps

    def begin_step(self) -> Iterator[Batch]:
        """Make ready for the next step, and give what it is trained on, size by size."""
        dials = self.settings
        fraction = lr_scale(dials.schedule, self.steps_done, self.steps, dials.warmup_steps, dials.cycles)
        self._optimizer.begin_step(fraction)
        return self._sampler(self.steps_done)

    def step_seed(self, *scope: str | int) -> int:
        """Seed of what the network itself draws at one place of the next step."""
        own = ("process", self._process_group.rank) if self._process_group.rank else ()
        return derive_seed(self.job.seed, *own, *scope, self.steps_done)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """A part of the step's loss as it is to be differentiated."""
        return self._optimizer.scale_loss(loss)

    def run_callbacks(self) -> None:
        """Look at what is due, and note what was found."""
        self.network.eval()
        with self.averaged_weights():
            for look, moment in self.due_callbacks:
                found = look(self.network, moment)
                if found:
                    self.history.callback_records.append({**asdict(moment), **found})
        self.network.train()

    def end_step(self, loss: Tensor, bin_sums: Float[Tensor, "2 bands"]) -> None:
        """Take the step, with the gradients that are there.

        Args:
            loss: mean over the step's pictures, still on the device.
            sums: of the step's losses by band, and how many there were, as `band_sums` gives them.
        """
        bin_sums = self._process_group.sum(bin_sums)
        loss = self._process_group.sum_gradients(self.parameters, loss)
        norm = self._optimizer.step()
        self.steps_done += 1
        self._unread.append((loss, norm, bin_sums))

    def read_losses(self) -> None:
        """Fetch the losses of the last steps from the device.

        Raises:
            TrainingDiverged: one is no number, or its gradient is not; or they have left their level.
        """
        if not self._unread:
            return
        losses, norms, bands = (torch.stack(each).cpu() for each in zip(*self._unread, strict=True))
        for loss, norm, sums in zip(losses.tolist(), norms.tolist(), bands, strict=True):
            self.history.bin_sums.append(sums)
            self.losses.append(loss if math.isfinite(norm) or not math.isfinite(loss) else math.nan)
            if not math.isfinite(self.losses[-1]) or has_diverged(self.losses):
                raise TrainingDivergedError(self.losses, self.settings)
        self._unread.clear()

    def save_checkpoint(self) -> None:
        """Write the state after the last step, where the job has a file for it and it is not there yet.

        Under way none is written after a step whose loss is far too high, so that a diverging run leaves a good one.
        """
        if is_spike(self.losses) and not self.finished:
            return
        if self._checkpoint and self._saved_step < len(self.losses) == self.steps_done:
            if self._process_group.rank == 0:
                self._checkpoint.write(self.history, *self._optimizer.state())
            self._saved_step = self.steps_done

    def commit_checkpoint(self) -> None:
        """Tell that the runs trained together have all saved their last state."""
        if self._checkpoint and self._process_group.rank == 0:
            self._checkpoint.commit()

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Within it the network holds the weights that it is saved and drawn with, the average where one is kept."""
        return self._optimizer.averaged_weights()

    def finish(self) -> None:
        """Leave the network as it is used: averaged where that was asked for, evaluating, without gradients."""
        self.network.eval()
        self._optimizer.finish()

    def result(self, seconds: float, preparation_seconds: float) -> TrainingResult:
        """What was done, in these times."""
        return TrainingResult(
            losses=self.losses,
            binned_losses=self.history.binned_losses(),
            callback_records=self.history.callback_records,
            steps=len(self.losses),
            epochs=self.settings.epochs_after(len(self.losses), self._epoch_length),
            seconds=seconds,
            preparation_seconds=preparation_seconds,
            resume_step=self.resume_step,
            finished=self.finished,
            image_count=len(self._dataset.valid_indices),
            skipped_images=self._dataset.skipped,
            upscaled_count=self._dataset.upscaled_count,
            bucket_counts=self._dataset.bucket_counts,
            parameter_count=sum(parameter.numel() for parameter in self.parameters),
            trains_text_encoder=self.trains_text_encoder,
        )


def _check_job(base: Base, job: TrainingJob) -> None:
    if not job.examples:
        raise InputError("Argument `examples` must hold at least one picture, but is empty.")
    if not any(parameter.requires_grad for _, parameter in job.network.named_parameters()):
        raise InputError("Argument `network` must have trainable parameters, but has none.")


def _lr_factors(job: TrainingJob) -> dict[int, float]:
    """Factors on the rates of single parameters, by `id`."""
    if job.settings.loraplus_ratio is None:
        return {}
    groups = job.network.parameter_groups(1.0, ratio=job.settings.loraplus_ratio)
    return {id(parameter): group["lr"] for group in groups for parameter in group["params"]}


def _run_identity(
    base: Base, parameters: dict[str, nn.Parameter], job: TrainingJob, examples: Sequence[Example]
) -> dict[str, str]:
    """What the run depends on, for its state to be recognised by."""
    pictures = hashlib.sha256()
    for example in examples:
        mask = find_mask(example.image) if job.settings.mask == "file" else None
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
        "looks": json.dumps([look.identity for look in job.callbacks]),
    }
