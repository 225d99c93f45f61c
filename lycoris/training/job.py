"""What to train, and what a training returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lycoris.cache.integrity import file_digest
from lycoris.data.images import find_mask
from lycoris.training.assistant import assistant_identity
from lycoris.training.callbacks import Callback
from lycoris.training.config import TrainingSettings
from lycoris.training.data.image_dataset import Example

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lycoris.adapters.layers.batch_partition import BatchPartition
    from lycoris.bases import Base


@runtime_checkable
class Trainable(Protocol):
    """The interface of an attached network that training needs.

    Attributes:
        timestep: the batch's timesteps while the base predicts.
        batch_partition: the network's part of each batch while several networks are trained on one base.
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
        examples: images and their captions.
        settings: the hyperparameters.
        seed: seed of data order, timesteps, noise and dropout.
        checkpoint: file of the run's state, resumed from if it exists; None writes none. Remove it when the result is
            safe.
        callbacks: run during training, by the first of several processes; the result does not depend on them.
    """

    network: Trainable
    examples: Sequence[Example]
    settings: TrainingSettings
    seed: int
    checkpoint: Path | None = None
    callbacks: Sequence[Callback] = ()

    def lr_factors(self) -> dict[int, float]:
        """Factors on the learning rates of single parameters, by `id`."""
        if self.settings.loraplus_ratio is None:
            return {}
        groups = self.network.parameter_groups(1.0, ratio=self.settings.loraplus_ratio)
        return {id(parameter): group["lr"] for group in groups for parameter in group["params"]}

    def identity(
        self, base: Base, parameters: Mapping[str, nn.Parameter], examples: Sequence[Example]
    ) -> dict[str, str]:
        """Everything the run depends on, by name; only a run with the same identity resumes from a checkpoint.

        Args:
            base: the base trained on.
            parameters: the trained parameters.
            examples: those whose images are valid.
        """
        content = hashlib.sha256()
        for example in examples:
            mask = find_mask(example.image) if self.settings.mask == "file" else None
            for file in (example.image, mask):
                content.update(file_digest(file).encode() if file is not None else b"-")
            content.update(f"{example.caption}\0{example.repeats}\0{example.prior}\0".encode())
            content.update("".join(f"{caption}\0" for caption in example.alternatives).encode())
        shapes = json.dumps({name: list(parameter.shape) for name, parameter in parameters.items()})
        return {
            "base": base.digest,
            "network": hashlib.sha256(shapes.encode()).hexdigest(),
            "examples": content.hexdigest(),
            "seed": str(self.seed),
            **assistant_identity(self.settings.assistant),
            **self.settings_identity(),
        }

    def settings_identity(self) -> dict[str, str]:
        """The part of `identity` that settings and callbacks make up."""
        return {
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "callbacks": json.dumps([callback.identity for callback in self.callbacks]),
        }


@dataclass(frozen=True)
class TrainingResult:
    """Losses, counts and times of a training.

    Attributes:
        losses: mean loss of each step's batch.
        binned_losses: the same by noise level: a name of `TIMESTEP_BINS` to one mean per step, None if the step had no
            image in the bin.
        callback_records: what callbacks returned, in order: ``"count"``, ``"step"``, ``"epoch"`` and their numbers.
        steps: steps completed, those before a resumption included.
        epochs: times that each image was seen in them, on average.
        seconds: time that this call spent in steps, callbacks excluded; for co-trained adapters, that of all of them.
        preparation_seconds: time spent reading images and encoding.
        resume_step: the step that this call resumed from; 0 for a new run.
        finished: whether all steps were completed before the deadline.
        image_count: images used, prior ones included.
        skipped_images: path to reason, of the images that could not be used.
        upscaled_count: used images that are smaller than their bucket.
        cropped_images: path to the share of a side that is lost, of used images that lose more than a tenth.
        bucket_counts: images in each bucket, by its size as ``"64x48"``.
        parameter_count: number of trained parameters.
        trains_text_encoder: whether the network adapts a text encoder.
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
    cropped_images: dict[str, float]
    bucket_counts: dict[str, int]
    parameter_count: int
    trains_text_encoder: bool
