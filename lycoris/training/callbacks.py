"""Looking at a training under way: when, at what, and what is kept. What is trained stays the same to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lycoris.errors import InputError
from lycoris.training.config import TrainingSettings

if TYPE_CHECKING:
    from lycoris.adapters.network import Network
    from lycoris.bases import Base


@dataclass(frozen=True)
class TrainingPoint:
    """A point of a run.

    Attributes:
        count: of steps or epochs, whichever the run's length is given in.
        step: optimiser steps done.
        epoch: how often each picture was seen, on average.
    """

    count: float
    step: int
    epoch: float

    @property
    def name(self) -> str:
        """The count, for files."""
        return f"{self.count:g}"


@dataclass(frozen=True)
class CallbackSchedule:
    """At which points of a run something is looked at, counted as the run's length is: in steps or in epochs.

    Attributes:
        at: after each of these counts.
        every: after every so many, and before the first step and after the last; None does not.

    Raises:
        InputError: a count is under 1, or stands there twice.
    """

    at: Sequence[int] = ()
    every: int | None = None

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.at) or len(set(self.at)) < len(self.at):
            raise InputError(f"Argument `at` must hold distinct counts of at least 1, but got {list(self.at)}.")
        if self.every is not None and self.every < 1:
            raise InputError(f"Argument `every` must be at least 1 or None, but got {self.every}.")

    def points(self, settings: TrainingSettings, image_count: int) -> list[TrainingPoint]:
        """The points of a run on a number of pictures, in order.

        Raises:
            InputError: a count is beyond the run's length.
        """
        length = settings.length
        late = [count for count in self.at if count > length]
        if late:
            raise InputError(f"Argument `at` must be within the run's {length:g} {settings.unit}s, but got {late[0]}.")
        counts: set[float] = set(self.at)
        if self.every is not None:
            counts |= {*range(0, int(length) + 1, self.every), length}
        steps = {count: settings.steps_after(count, image_count) for count in sorted(counts)}
        return [TrainingPoint(count, step, settings.epochs_after(step, image_count)) for count, step in steps.items()]


@runtime_checkable
class Callback(Protocol):
    """Something that is looked at while a network is trained.

    Called with the network in evaluation mode, without gradients and with randomness apart from the run's. What it
    writes must be whole before it returns; after a crash it may be asked for the same moment again.

    """

    @property
    def schedule(self) -> CallbackSchedule:
        """The moments."""
        ...

    @property
    def identity(self) -> str:
        """All that its outcome depends on beside the run; a state with other looks is not taken up."""
        ...

    def __call__(self, network: Any, point: TrainingPoint) -> Mapping[str, float]:
        """Look, and give numbers to be kept with the run, by name."""
        ...


@dataclass(frozen=True)
class CheckpointCallback:
    """The adapter as it is at some moments, each a complete file ``<count>.safetensors``.

    Attributes:
        folder: for the files.
        when: the moments.
        header: entries of each file's header, which also says ``step`` and ``epoch``.
    """

    folder: Path
    schedule: CallbackSchedule
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        return json.dumps(["checkpoints", list(self.schedule.at), self.schedule.every])

    def __call__(self, network: Network, point: TrainingPoint) -> dict[str, float]:
        """Write the file of a moment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.safetensors.*"):  # half written by a run that was killed
            left.unlink(missing_ok=True)
        network.save(
            self.folder / f"{point.name}.safetensors",
            metadata={**self.metadata, **progress_metadata(point.step, point.epoch)},
        )
        return {}


@dataclass(frozen=True)
class ImageCallback:
    """The same prompts drawn from the same seeds at some moments, as ``<count>/<number>.png``.

    Attributes:
        base: draws, with the network attached.
        folder: for the pictures.
        when: the moments.
        prompts: one a picture.
        seeds: one a picture.
        drawing: further arguments of `lycoris.bases.sampling.draw`.
    """

    base: Base
    folder: Path
    schedule: CallbackSchedule
    prompts: Sequence[str]
    seeds: Sequence[int]
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        asked = [list(self.prompts), list(self.seeds), dict(self.sampling)]
        return json.dumps(["samples", list(self.schedule.at), self.schedule.every, asked], sort_keys=True)

    def __call__(self, network: Network, point: TrainingPoint) -> dict[str, float]:
        """Draw the pictures of a moment; ``"samples"`` is how many."""
        from lycoris.bases.sampling import generate

        folder = self.folder / point.name
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(generate(self.base, self.prompts, self.seeds, **self.sampling)):
            picture.save(folder / f"{number:02d}.png", optimize=True)
        return {"samples": len(self.prompts)}


def progress_metadata(step: int, epoch: float) -> dict[str, str]:
    """How long an adapter was trained, as entries of its file's header."""
    return {"step": str(step), "epoch": f"{epoch:g}"}
