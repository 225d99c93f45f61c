"""The frozen records of a training: what is requested, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.artifacts import Artifact, ImageSet, ModelRef, RunSpec, SamplingSettings

SUMMARY_FILE = "training.json"


@dataclass(frozen=True)
class AdapterSettings:
    """What decides an adapter's training beside its data: network and training options, defaults filled in.

    Attributes:
        algorithm: name in `lycoris.adapters.ALGORITHMS`, or a method of PEFT such as ``"peft:oft"``.
        preset: which layers.
        images: how many of the concept's images it is trained on; None for all.
        options: fields of the configuration of a method of PEFT.
        training: options of `lycoris.training.TrainingSettings`.
    """

    algorithm: str
    preset: str | None = None
    rank: int | None = None
    alpha: float | None = None
    factor: int | None = None
    images: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AdapterSettings:
        """The settings of `as_dict`."""
        values = dict(values)
        return cls(images=values.pop("pictures", None), **values)

    @property
    def network_options(self) -> dict[str, Any]:
        """The arguments of `lycoris.attach` that are set."""
        options = {name: getattr(self, name) for name in ("algorithm", "preset", "rank", "alpha", "factor")}
        return {**{name: value for name, value in options.items() if value is not None}, **self.options}

    def as_dict(self) -> dict[str, Any]:
        """As written to file headers, MLflow and reports; `images` and `options` only where they are set."""
        values = {**asdict(self), "training": dict(self.training)}
        images, options = values.pop("images"), values.pop("options")
        values |= {"options": options} if options else {}
        return values if images is None else {**values, "pictures": images}


def times_label(training: Mapping[str, Any]) -> str:
    """What a training changes about the times of a flow and their weights: ``"mode scale=0.5, shift 3, cosmap"``.

    Args:
        training: settings of docs/training.md.

    Returns:
        Empty where all are the base's own.
    """
    density, options = training.get("timestep_density"), training.get("timestep_density_options") or {}
    shift, weighting = training.get("timestep_shift"), training.get("loss_weighting")
    parts = [
        " ".join([density, *(f"{name}={value:g}" for name, value in options.items())]) if density else "",
        f"shift {shift:g}" if shift else "",
        weighting or "",
    ]
    return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class ValidationOptions:
    """A loss on images that are not trained on: how many, how often, and at how many noise levels."""

    hold_out: float
    every: int
    noise_levels: int


@dataclass(frozen=True)
class SampleOptions:
    """Images generated during training: how often, of which prompts and seeds, and how."""

    every: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    sampling: SamplingSettings


@dataclass(frozen=True)
class PriorSet:
    """Images of a class in general, with a caption for each."""

    images: ImageSet
    captions: tuple[str, ...]


@dataclass(frozen=True)
class TrainingRequest:
    """An adapter to be trained.

    Attributes:
        spec: which adapter of the study.
        base: model it is trained on.
        images: files to train on.
        captions: one per image; the first one of several.
        settings: of the network and its training.
        skipped_images: path -> reason, of the dataset's files that are not among `images`.
        checkpoints: epochs, or steps if the training's length is in steps, after which the adapter is saved as well.
        alternatives: all captions of each image, where an image has several; else empty.
        repeats: how often an epoch shows each image, where that is not once; else empty.
        prior: images of the class in general.
        trigger: what stands for the concept in captions, for the header of the file; "" for none.
    """

    spec: RunSpec
    base: ModelRef
    images: ImageSet
    captions: tuple[str, ...]
    settings: AdapterSettings
    skipped_images: Mapping[str, str] = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    validation: ValidationOptions | None = None
    samples: SampleOptions | None = None
    alternatives: tuple[tuple[str, ...], ...] = ()
    repeats: tuple[int, ...] = ()
    prior: PriorSet | None = None
    trigger: str = ""


@dataclass(frozen=True)
class TrainedAdapter:
    """A finished training.

    Attributes:
        final: the adapter at the end.
        checkpoints: epochs or steps -> the adapter after them.
    """

    final: Artifact
    checkpoints: Mapping[int, Artifact] = field(default_factory=dict)

    def at_checkpoint(self, checkpoint: int | None) -> Artifact:
        """The adapter of a checkpoint; None for the end."""
        return self.final if checkpoint is None else self.checkpoints[checkpoint]


@dataclass(frozen=True)
class TrainingSummary:
    """What is recorded of a training, beside the adapter's file.

    Attributes:
        step: optimizer steps taken.
        epoch: passes over the images.
        losses: of each step.
        binned_losses: timestep bin -> mean loss of each step, None where no image of a step fell into the bin.
        callback_records: results of validation and sampling, in order.
        parameters: trained numbers.
        layers: adapted layers.
        seconds: this adapter's share of the training time.
        co_trained: how many adapters were trained in the same process at the same time.
        peak_memory: bytes beyond the loaded base; None where it was not measured.
        image_count: images trained on.
        upscaled_count: how many of them were enlarged.
        skipped_images: path -> reason, of images that cannot be used.
        cropped_images: path -> share of a side that the crop takes, of images that lose more than a tenth.
        continued_from: the step of a finished training that it continued from; None if it began anew.
    """

    step: int
    epoch: float
    losses: list[float]
    binned_losses: dict[str, list[float | None]]
    callback_records: list[dict[str, Any]]
    parameters: int
    layers: int
    seconds: float
    co_trained: int
    peak_memory: int | None
    image_count: int
    upscaled_count: int
    skipped_images: dict[str, str]
    cropped_images: dict[str, float] = field(default_factory=dict)
    continued_from: int | None = None

    @classmethod
    def read(cls, folder: Path) -> TrainingSummary:
        """The summary in an adapter's folder."""
        return cls(**json.loads((folder / SUMMARY_FILE).read_text()))

    def to_json(self) -> str:
        """The content of its file."""
        return json.dumps(asdict(self))

    def truncated(self, step: int, epoch: float) -> TrainingSummary:
        """What was known after an earlier step."""
        return replace(
            self,
            step=step,
            epoch=epoch,
            seconds=self.seconds * step / self.step,
            losses=self.losses[:step],
            binned_losses={name: losses[:step] for name, losses in self.binned_losses.items()},
            callback_records=[record for record in self.callback_records if record["step"] <= step],
        )
