"""One training in progress: its data, optimizer, losses and checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.errors import InputError
from lycoris.training.callbacks import Callback, TrainingPoint
from lycoris.training.checkpointing import CheckpointFile
from lycoris.training.data.caption_encoding import CaptionEncoder, text_parameter_positions
from lycoris.training.data.image_dataset import ImageDataset
from lycoris.training.data.sampler import Batch, BatchSampler
from lycoris.training.distributed import ProcessGroup
from lycoris.training.divergence import TrainingDivergedError, has_diverged, is_spike
from lycoris.training.history import History
from lycoris.training.job import TrainingJob, TrainingResult
from lycoris.training.losses import TrainingLoss
from lycoris.training.optim.optimizer_step import RunOptimizer, parameter_groups
from lycoris.training.optim.schedules import lr_scale
from lycoris.training.seeding import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base


class TrainingRun:
    """A job in progress.

    Args:
        base: the base, with the job's network attached to its parts.
        job: what to train.
        cache_folder: folder for latents and text conditioning, shared between runs; None keeps them in memory.

    Attributes:
        steps: steps of the whole run.
        history: measurements of the steps whose losses were read.
        steps_done: steps completed, including those whose losses are not yet read.
        resume_step: the step that the run resumed from.

    Raises:
        InputError: there are no images, or no valid ones; there is nothing to train; or the checkpoint is of another
            run.
    """

    def __init__(self, base: Base, job: TrainingJob, cache_folder: Path | None = None) -> None:
        if not job.examples:
            raise InputError("Argument `examples` must hold at least one image, but is empty.")
        named = {name: each for name, each in job.network.named_parameters() if each.requires_grad}
        if not named:
            raise InputError("Argument `network` must have trainable parameters, but has none.")
        self.job, self.network, self.settings = job, job.network, job.settings
        self._dataset = ImageDataset(
            base,
            [example.image for example in job.examples],
            horizontal_flip=job.settings.horizontal_flip,
            cache_folder=cache_folder,
            use_cache=job.settings.cache_encodings,
            mask=job.settings.mask,
            on_invalid_image=job.settings.on_invalid_image,
        )
        examples = [job.examples[row] for row in self._dataset.valid_indices]
        self._epoch_length = sum(example.repeats for example in examples if not example.prior)
        self.steps = job.settings.steps_for(self._epoch_length)
        self.parameters = list(named.values())
        self.network.eval()
        text_positions = text_parameter_positions(base, self.parameters)
        self.trains_text_encoder = bool(text_positions)
        groups = parameter_groups(self.parameters, text_positions, job.lr_factors(), job.settings)
        self._optimizer = RunOptimizer(named, groups, job.settings, float16=base.dtype is torch.float16)
        self.loss = TrainingLoss.from_settings(base, job.settings)
        self._process_group = ProcessGroup.current()
        self._checkpoint = (
            CheckpointFile(job.checkpoint, job.identity(base, named, examples)) if job.checkpoint else None
        )
        self.history = History()
        self.resume_step = self.steps_done = self._saved_step = 0
        captions = CaptionEncoder(
            base,
            [example.caption for example in examples],
            alternatives=[caption for example in examples for caption in example.alternatives],
            trainable=self.trains_text_encoder,
            augmented=job.settings.augments_captions,
            use_cache=job.settings.cache_encodings,
            cache_folder=cache_folder,
        )
        self._sampler = BatchSampler(
            self._dataset, captions, self.loss.forward_process, job.settings, job.seed, examples, self._process_group
        )
        self._unread: list[tuple[Tensor, Tensor, Tensor]] = []
        self._callback_points = [
            (callback, point)
            for callback in job.callbacks
            for point in callback.schedule.points(job.settings, self._epoch_length)
        ]

    @property
    def losses(self) -> list[float]:
        """Mean loss of each step, as far as they were read."""
        return self.history.losses

    @property
    def due_callbacks(self) -> list[tuple[Callback, TrainingPoint]]:
        """Callbacks to run before the next step; of several processes only the first one has any."""
        if self._process_group.rank:
            return []
        return [(callback, point) for callback, point in self._callback_points if point.step == self.steps_done]

    @property
    def finished(self) -> bool:
        """Whether all steps are completed."""
        return self.steps_done == self.steps

    def checkpoint_steps(self) -> set[int]:
        """Steps that the run can resume from; 0 is its start.

        Raises:
            InputError: the checkpoint is damaged, or of another run.
        """
        return {0} | (self._checkpoint.steps() if self._checkpoint else set())

    def resume(self, step: int) -> None:
        """Resume from a step, one of `checkpoint_steps()`."""
        if step and self._checkpoint:
            self.history, *state = self._checkpoint.read(step)
            self._optimizer.restore(*state)
        self.resume_step = self.steps_done = self._saved_step = step

    def begin_step(self) -> Iterator[Batch]:
        """Prepare the next step, and yield its batches, one image size at a time."""
        settings = self.settings
        scale = lr_scale(settings.schedule, self.steps_done, self.steps, settings.warmup_steps, settings.cycles)
        self._optimizer.begin_step(scale)
        return self._sampler(self.steps_done)

    def step_seed(self, *scope: str | int) -> int:
        """Seed of the network's own randomness at one place of the next step."""
        process = ("process", self._process_group.rank) if self._process_group.rank else ()
        return derive_seed(self.job.seed, *process, *scope, self.steps_done)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Scale a part of the step's loss for the backward pass."""
        return self._optimizer.scale_loss(loss)

    def run_callbacks(self) -> None:
        """Run the callbacks that are due, and record what they return."""
        self.network.eval()
        with self._optimizer.averaged_weights():
            for callback, point in self.due_callbacks:
                numbers = callback(self.network, point)
                if numbers:
                    self.history.callback_records.append({**asdict(point), **numbers})
        self.network.train()

    def end_step(self, loss: Tensor, bin_sums: Float[Tensor, "2 bins"]) -> None:
        """Update the parameters from the accumulated gradients.

        Args:
            loss: mean over the step's images, still on the device.
            bin_sums: the step's losses by timestep bin, from `lycoris.training.timestep_bins.bin_sums`.
        """
        bin_sums = self._process_group.sum(bin_sums)
        loss = self._process_group.sum_gradients(self.parameters, loss)
        norm = self._optimizer.step()
        self.steps_done += 1
        self._unread.append((loss, norm, bin_sums))

    def read_losses(self) -> None:
        """Fetch the losses of the last steps from the device.

        Raises:
            TrainingDivergedError: a loss or a gradient is not finite, or the losses stay far above their earlier level.
        """
        if not self._unread:
            return
        losses, norms, bin_sums = (torch.stack(column).cpu() for column in zip(*self._unread, strict=True))
        for loss, norm, sums in zip(losses.tolist(), norms.tolist(), bin_sums, strict=True):
            self.history.bin_sums.append(sums)
            self.losses.append(loss if math.isfinite(norm) or not math.isfinite(loss) else math.nan)
            if not math.isfinite(self.losses[-1]) or has_diverged(self.losses):
                raise TrainingDivergedError(self.losses, self.settings)
        self._unread.clear()

    def save_checkpoint(self) -> None:
        """Write the state after the last step, if the job has a file for it and the state is not there yet.

        Except at the end, no state is written after a step with a loss spike, so that a diverging run leaves a good
        one.
        """
        if is_spike(self.losses) and not self.finished:
            return
        if self._checkpoint and self._saved_step < len(self.losses) == self.steps_done:
            if self._process_group.rank == 0:
                self._checkpoint.write(self.history, *self._optimizer.state())
            self._saved_step = self.steps_done

    def commit_checkpoint(self) -> None:
        """Drop the previous state, since all co-trained runs have saved their last one."""
        if self._checkpoint and self._process_group.rank == 0:
            self._checkpoint.commit()

    def finish(self) -> None:
        """Leave the network in evaluation mode, with averaged weights if there are any, and without gradients."""
        self.network.eval()
        self._optimizer.finish()

    def result(self, seconds: float, preparation_seconds: float) -> TrainingResult:
        """The result, with the times that the steps and the preparation took."""
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
            cropped_images=self._dataset.cropped_images,
            bucket_counts=self._dataset.bucket_counts,
            parameter_count=sum(parameter.numel() for parameter in self.parameters),
            trains_text_encoder=self.trains_text_encoder,
        )
