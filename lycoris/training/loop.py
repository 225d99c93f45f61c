"""The training loop."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from lycoris.errors import InputError
from lycoris.images import mask_file
from lycoris.store import file_digest
from lycoris.training.batches import Batch, Batches, losses_of
from lycoris.training.optimizer import adamw
from lycoris.training.pictures import Example, Pictures
from lycoris.training.randomness import derived_seed
from lycoris.training.schedules import rate_fraction
from lycoris.training.settings import TrainingSettings
from lycoris.training.state import RunState
from lycoris.training.texts import Texts, text_parameters

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lycoris.bases import Base

LOOK_EVERY = 16
"""On a GPU losses are read, and progress told, once in so many steps, so that it need not wait for us."""


class Trainable(Protocol):
    """What the loop asks of an attached network; `timestep` is set to the batch's while the base predicts."""

    timestep: Tensor | None

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def train(self, mode: bool = True) -> object: ...
    def eval(self) -> object: ...


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
        seconds: spent in steps by this call.
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
    cache: Path | None = None,
) -> TrainingResult:
    """Train a network's parameters to predict the base's targets on captioned pictures.

    On a CPU the result is a function of the arguments to the last bit, however often it was interrupted.

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

    Returns:
        Losses, counts and times.

    Raises:
        InputError: no pictures, or none that can be used; nothing to train; or a state of another run.
        TrainingDiverged: the loss stopped being a number; the last good state stays in `checkpoint`.
    """
    began = time.monotonic()
    _check(base, network, examples)
    pictures = Pictures(
        base,
        [example.image for example in examples],
        flip=settings.flip,
        cache=cache,
        mask=settings.mask,
        on_bad_picture=settings.on_bad_picture,
    )
    examples = [examples[row] for row in pictures.kept]
    steps = settings.steps_for(sum(example.repeats for example in examples if not example.prior))
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    network.eval()
    of_text = text_parameters(base, list(parameters.values()))
    optimizer = adamw(list(parameters.values()), of_text, settings)
    state = RunState(checkpoint, _identity(base, parameters, examples, settings, seed)) if checkpoint else None
    losses = state.read(parameters, optimizer) if state else []
    resumed_at = len(losses)
    captions = [example.caption for example in examples]
    texts = Texts(base, captions, adapted=bool(of_text), varied=settings.varies_captions, cache=cache)
    batches = Batches(pictures, texts, base.noise.times, settings, seed, examples)

    started = saved = time.monotonic()
    unread: list[tuple[Tensor, Tensor]] = []
    network.train()
    try:
        with _own_randomness(base.device):
            for step in range(resumed_at, steps):
                if deadline is not None and time.monotonic() >= deadline:
                    break
                torch.manual_seed(derived_seed(seed, "network", step))
                for group in optimizer.param_groups:
                    fraction = rate_fraction(settings.schedule, step, steps, settings.warmup_steps)
                    group["lr"] = group["top"] * fraction
                unread.append(_step(base, network, batches(step), list(parameters.values()), optimizer, settings))
                if base.device.type == "cpu" or len(unread) == LOOK_EVERY or step + 1 == steps:
                    _read_losses(unread, losses, settings)
                    if progress is not None:
                        progress(len(losses), steps, losses[-1])
                    if state and (step + 1 == steps or time.monotonic() - saved >= checkpoint_seconds):
                        state.write(losses, parameters, optimizer)
                        saved = time.monotonic()
            _read_losses(unread, losses, settings)
    finally:
        network.eval()
        optimizer.zero_grad(set_to_none=True)
    if state and resumed_at < len(losses) < steps:
        state.write(losses, parameters, optimizer)
    return TrainingResult(
        losses=losses,
        steps=len(losses),
        seconds=time.monotonic() - started,
        preparation_seconds=started - began,
        resumed_at=resumed_at,
        finished=len(losses) == steps,
        pictures=len(examples),
        set_aside=pictures.set_aside,
        upscaled=pictures.upscaled,
        buckets=pictures.counts,
        parameters=sum(parameter.numel() for parameter in parameters.values()),
        text_encoder_trained=bool(of_text),
    )


def _step(
    base: Base,
    network: Trainable,
    batches: Iterator[Batch],
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
) -> tuple[Tensor, Tensor]:
    """One optimiser step; returns the batch's mean loss and the gradient's norm, both still on the device."""
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=base.device)
    for batch in batches:
        network.timestep = batch.timesteps  # for adapters that act by it
        loss = losses_of(base, batch, settings.min_snr).sum() / settings.batch_size
        network.timestep = None
        loss.backward()
        total += loss.detach()
    limit = math.inf if settings.clip_norm is None else settings.clip_norm
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    optimizer.step()
    return total, norm


def _read_losses(unread: list[tuple[Tensor, Tensor]], losses: list[float], settings: TrainingSettings) -> None:
    if not unread:
        return
    for loss, norm in torch.stack([torch.stack(pair) for pair in unread]).tolist():
        losses.append(loss if math.isfinite(norm) or not math.isfinite(loss) else math.nan)
        if not math.isfinite(losses[-1]):
            raise TrainingDiverged(losses, settings)
    unread.clear()


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the process's random state as it was found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _check(base: Base, network: Trainable, examples: Sequence[Example]) -> None:
    if not examples:
        raise InputError("Argument `examples` must hold at least one picture, but is empty.")
    if not any(parameter.requires_grad for _, parameter in network.named_parameters()):
        raise InputError("Argument `network` must have trainable parameters, but has none.")
    if base.dtype is torch.float16:
        raise InputError("Training needs a base opened in float32 or bfloat16, but `dtype` is float16.")


def _identity(
    base: Base,
    parameters: dict[str, nn.Parameter],
    examples: Sequence[Example],
    settings: TrainingSettings,
    seed: int,
) -> dict[str, str]:
    """What the run depends on, for its state to be recognised by."""
    pictures = hashlib.sha256()
    for example in examples:
        mask = mask_file(example.image) if settings.mask == "file" else None
        for file in (example.image, mask):
            pictures.update(file_digest(file).encode() if file is not None and file.is_file() else b"-")
        pictures.update(f"{example.caption}\0{example.repeats}\0{example.prior}\0".encode())
    shapes = json.dumps({name: list(parameter.shape) for name, parameter in parameters.items()})
    return {
        "base": base.digest,
        "network": hashlib.sha256(shapes.encode()).hexdigest(),
        "examples": pictures.hexdigest(),
        "settings": json.dumps(asdict(settings), sort_keys=True),
        "seed": str(seed),
    }
