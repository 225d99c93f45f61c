"""One adapter's training in progress: what it learns from, its optimiser, its losses, its state on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from lycoris.errors import InputError
from lycoris.images import mask_file
from lycoris.store import file_digest
from lycoris.training.batches import Batch, Batches
from lycoris.training.optimizer import adamw
from lycoris.training.pictures import Example, Pictures
from lycoris.training.randomness import derived_seed
from lycoris.training.schedules import rate_fraction
from lycoris.training.settings import TrainingSettings
from lycoris.training.state import RunState
from lycoris.training.texts import Texts, text_parameters

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lycoris.adapters.share import Share
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
    """

    network: Trainable
    examples: Sequence[Example]
    settings: TrainingSettings
    seed: int
    checkpoint: Path | None = None


class TrainingDiverged(InputError):
    """The loss or its gradient stopped being a number.

    Attributes:
        losses: of the steps before, the last one included.
    """

    def __init__(self, losses: list[float], settings: TrainingSettings) -> None:
        advice = f"Lower `learning_rate` (now {settings.learning_rate:g})"
        if settings.clip_norm is None:
            advice += ", set `clip_norm` to 1"
        if not settings.warmup_steps:
            advice += ", give some `warmup_steps`"
        super().__init__(f"The training diverged at step {len(losses)}: its loss is {losses[-1]}. {advice}.")
        self.losses, self.settings = losses, settings

    def __reduce__(self) -> tuple[type, tuple[list[float], TrainingSettings]]:
        """Errors cross from worker processes to the one that reports them."""
        return type(self), (self.losses, self.settings)


@dataclass(frozen=True)
class TrainingResult:
    """What a run did.

    Attributes:
        losses: mean loss of each step's batch.
        steps: steps done in all, those before a resumption included.
        seconds: spent in steps by this call; of runs trained together, of all of them.
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
    steps: int
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
        losses: mean loss of each step done, as far as they were read.
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
            mask=job.settings.mask,
            on_bad_picture=job.settings.on_bad_picture,
        )
        examples = [job.examples[row] for row in self._pictures.kept]
        self.steps = job.settings.steps_for(sum(each.repeats for each in examples if not each.prior))
        named = {name: each for name, each in job.network.named_parameters() if each.requires_grad}
        self._named, self.parameters = named, list(named.values())
        self.network.eval()
        of_text = text_parameters(base, self.parameters)
        self.text_encoder_trained = bool(of_text)
        self.optimizer = adamw(self.parameters, of_text, job.settings)
        self._state = RunState(job.checkpoint, _identity(base, named, job, examples)) if job.checkpoint else None
        self.losses: list[float] = []
        self.resumed_at = self.taken = self._saved_at = 0
        texts = Texts(
            base,
            [each.caption for each in examples],
            adapted=self.text_encoder_trained,
            varied=job.settings.varies_captions,
            cache=cache,
        )
        self._batches = Batches(self._pictures, texts, base.noise, job.settings, job.seed, examples)
        self._unread: list[tuple[Tensor, Tensor]] = []

    def saved_steps(self) -> set[int]:
        """Steps after which the run can be taken up, 0 for its beginning.

        Raises:
            InputError: the state is damaged, or of another run.
        """
        return {0} | (self._state.steps() if self._state else set())

    def resume(self, step: int) -> None:
        """Take the run up after a step, one of `saved_steps()`."""
        if step and self._state:
            self.losses = self._state.read(step, self._named, self.optimizer)
        self.resumed_at = self.taken = self._saved_at = step

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.taken == self.steps

    def begin(self) -> Iterator[Batch]:
        """Make ready for the next step, and give what it is trained on, size by size."""
        fraction = rate_fraction(self.settings.schedule, self.taken, self.steps, self.settings.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * fraction
        self.optimizer.zero_grad(set_to_none=True)
        return self._batches(self.taken)

    def stream(self, *place: str | int) -> int:
        """Seed of what the network itself draws at one place of the next step."""
        return derived_seed(self.job.seed, *place, self.taken)

    def end(self, loss: Tensor) -> None:
        """Take the step, with the gradients that are there.

        Args:
            loss: mean over the step's pictures, still on the device.
        """
        limit = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        self.optimizer.step()
        self.taken += 1
        self._unread.append((loss, norm))

    def read_losses(self) -> None:
        """Fetch the losses of the last steps from the device.

        Raises:
            TrainingDiverged: one is no number, or its gradient is not.
        """
        if not self._unread:
            return
        for loss, norm in torch.stack([torch.stack(pair) for pair in self._unread]).tolist():
            self.losses.append(loss if math.isfinite(norm) or not math.isfinite(loss) else math.nan)
            if not math.isfinite(self.losses[-1]):
                raise TrainingDiverged(self.losses, self.settings)
        self._unread.clear()

    def save(self) -> None:
        """Write the state after the last step, where the job has a file for it and it is not there yet."""
        if self._state and self._saved_at < len(self.losses) == self.taken:
            self._state.write(self.losses, self._named, self.optimizer)
            self._saved_at = self.taken

    def settle(self) -> None:
        """Tell that the runs trained together have all saved their last state."""
        if self._state:
            self._state.settle()

    def close(self) -> None:
        """Leave the network as it is used: in evaluation mode, without gradients."""
        self.network.eval()
        self.optimizer.zero_grad(set_to_none=True)

    def result(self, seconds: float, preparation_seconds: float) -> TrainingResult:
        """What was done, in these times."""
        return TrainingResult(
            losses=self.losses,
            steps=len(self.losses),
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
    if base.dtype is torch.float16:
        raise InputError("Training needs a base opened in float32 or bfloat16, but `dtype` is float16.")


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
    }
