"""Callbacks during training: when they run, and the ones that exist. None of them changes what is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lycoris.bases.sampling import GenerationSettings
from lycoris.cache.atomic import remove_leftovers
from lycoris.errors import InputError
from lycoris.training.config import TrainingSettings

if TYPE_CHECKING:
    from lycoris.adapters.network import Network
    from lycoris.bases import Base


@dataclass(frozen=True)
class TrainingPoint:
    """A point of a run.

    Attributes:
        count: steps or epochs, whichever unit the run's length has.
        step: optimizer steps completed.
        epoch: times that each image was seen, on average.
    """

    count: float
    step: int
    epoch: float

    @property
    def name(self) -> str:
        """The count as text, for file names."""
        return f"{self.count:g}"


@dataclass(frozen=True)
class CallbackSchedule:
    """At which points of a run a callback runs, in the unit of the run's length: steps or epochs.

    Attributes:
        at: after each of these counts.
        every: at this interval, and before the first step and after the last; None for no interval.

    Raises:
        InputError: a count is below 1 or occurs twice.
    """

    at: Sequence[int] = ()
    every: int | None = None

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.at) or len(set(self.at)) < len(self.at):
            raise InputError(f"Argument `at` must hold distinct counts of at least 1, but got {list(self.at)}.")
        if self.every is not None and self.every < 1:
            raise InputError(f"Argument `every` must be at least 1 or None, but got {self.every}.")

    def points(self, settings: TrainingSettings, image_count: int) -> list[TrainingPoint]:
        """The points of a run on a number of images, in order.

        Raises:
            InputError: a count exceeds the run's length.
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
    """Something that runs at points of a training.

    It is called with the network in evaluation mode, without gradients, and with a random state of its own. What it
    writes must be complete before it returns; after a crash it may be called for the same point again.
    """

    @property
    def schedule(self) -> CallbackSchedule:
        """When it runs."""

    @property
    def identity(self) -> str:
        """Everything its outcome depends on besides the run; a run with other callbacks cannot resume."""

    def __call__(self, network: Any, point: TrainingPoint) -> Mapping[str, float]:
        """Run, and return numbers by name to record with the run."""


@dataclass(frozen=True)
class CheckpointCallback:
    """Saves the adapter as ``<count>.safetensors``, a complete adapter file.

    Attributes:
        folder: folder for the files.
        schedule: when to save.
        metadata: entries of each file's header, in addition to ``step`` and ``epoch``.
    """

    folder: Path
    schedule: CallbackSchedule
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        return json.dumps(["checkpoints", list(self.schedule.at), self.schedule.every])

    def __call__(self, network: Network, point: TrainingPoint) -> dict[str, float]:
        """Save the adapter."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        metadata = {**self.metadata, **progress_metadata(point.step, point.epoch)}
        network.save(self.folder / f"{point.name}.safetensors", metadata=metadata)
        return {}


@dataclass(frozen=True)
class ImageCallback:
    """Generates images from the same prompts and seeds, as ``<count>/<number>.png``.

    Attributes:
        base: the base, with the network attached.
        folder: folder for the images.
        schedule: when to generate.
        prompts: one per image.
        seeds: one per image.
        sampling: sampler, guidance and sizes.
    """

    base: Base
    folder: Path
    schedule: CallbackSchedule
    prompts: Sequence[str]
    seeds: Sequence[int]
    sampling: GenerationSettings = field(default_factory=GenerationSettings)

    @property
    def identity(self) -> str:
        request = [list(self.prompts), list(self.seeds), asdict(self.sampling)]
        return json.dumps(["samples", list(self.schedule.at), self.schedule.every, request], sort_keys=True)

    def __call__(self, network: Network, point: TrainingPoint) -> dict[str, float]:
        """Generate the images; ``"samples"`` is their number."""
        from lycoris.bases.sampling import generate

        folder = self.folder / point.name
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(generate(self.base, self.prompts, self.seeds, self.sampling)):
            image.save(folder / f"{number:02d}.png", optimize=True)
        return {"samples": len(self.prompts)}


def progress_metadata(step: int, epoch: float) -> dict[str, str]:
    """How long an adapter was trained, as entries of its file's header."""
    return {"step": str(step), "epoch": f"{epoch:g}"}
