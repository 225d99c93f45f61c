"""Validation of the trainings of an experiment: settings against the base, the machine and the number of images."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.config.adapter import AdapterConfig
from flows.config.experiment import Experiment
from flows.config.fitting import settings_for_images
from lycoris.data.images import find_mask, has_alpha
from lycoris.data.splits import held_out_count, split_held_out
from lycoris.errors import InputError
from tasks.trainings import AdapterSettings

if TYPE_CHECKING:
    from torch import nn

    from lycoris.data.concepts import Concept


def adapter_inputs(experiment: Experiment) -> dict[str, Any]:
    """Return everything of an experiment and of this machine that `validate_adapters` depends on, as JSON values."""
    import torch

    from lycoris import bases

    options = experiment.base_options()
    adapters = [[adapter.label, asdict(experiment.adapter_settings(adapter))] for adapter in experiment.algorithms]
    return {
        "base": bases.digest(experiment.base, **options.for_base),
        "options": asdict(options),
        "adapters": adapters,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def validate_adapters(experiment: Experiment) -> None:
    """Check that every adapter fits the base's layers, and its training the base's noise schedule and this machine.

    Raises:
        InputError: The message names the adapter and says what does not fit.
    """
    import torch

    from lycoris.bases import load_forward_process, parameter_count
    from lycoris.bases.quantization import Precisions, mark_quantized
    from lycoris.training import TrainingSettings
    from lycoris.training.requirements import check_requirements

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    forward_process = load_forward_process(experiment.base, **experiment.base_options().for_tokenizer)
    parts = parameter_count.meta_parts(experiment.base, **experiment.base_options().for_parts)
    quantized = mark_quantized(parts, Precisions.of(experiment.base_options().precision))
    for adapter in experiment.algorithms:
        settings = experiment.adapter_settings(adapter)
        try:
            check_requirements(TrainingSettings(**settings.training), forward_process, device)
            _check_layers(parts, settings, quantized)
        except InputError as error:
            raise InputError(f"Adapter `{adapter.label}`: {error}") from error


def _check_layers(parts: Mapping[str, nn.Module], settings: AdapterSettings, quantized: Set[nn.Module]) -> None:
    """Attach the adapter to layers without values, and check the settings that concern some of its parameters."""
    from lycoris.bases.parameter_count import attach_to_meta

    network = attach_to_meta(parts, **settings.network_options)
    try:
        for key, layer in network.layers.items():
            if key in network.adapters and network.adapters[key].algorithm == "full" and layer.module in quantized:
                raise InputError(
                    f"Algorithm `full` must not be used where `precision` quantises the weights, as of "
                    f"`{layer.part}.{layer.path}`: it trains a change of every weight in 32 bits, which takes several "
                    "times the memory that is saved, and that cannot be added to quantised weights. Choose another, "
                    "such as `lora`, or a `precision` of bf16."
                )
        if (ratio := settings.training.get("loraplus_ratio")) is not None:
            network.parameter_groups(1.0, ratio=ratio)
        adapted = sorted({layer.part for layer in network.layers.values()})
        text_rate = settings.training.get("text_encoder_learning_rate")
        if text_rate is not None and not any(part.startswith("text_encoder") for part in adapted):
            raise InputError(
                f"Argument `text_encoder_learning_rate` must be None where no layer of a text encoder is adapted, but "
                f"got {text_rate:g} with preset `{settings.preset}`, which adapts {', '.join(adapted)}."
            )
    finally:
        network.detach()


def validate_image_counts(experiment: Experiment, concepts: Sequence[Concept]) -> None:
    """Check what depends on the number of a concept's images, and on masks and prior images.

    Raises:
        InputError: Too few images would be left to train on, an adapter needs more than there are, its warm-up is
            longer than its training, or its settings concern masks or prior images that do not exist.
    """
    names = ", ".join(f"`{concept.name}`" for concept in concepts)
    trainings = [experiment.adapter_settings(adapter).training for adapter in experiment.algorithms]
    if any("prior_weight" in training for training in trainings) and not any(one.prior_images for one in concepts):
        raise InputError(
            f"Setting `prior_weight` needs prior images, but none of {names} has any: name their folder with "
            "`prior` in concepts.yaml, or put them into `reg/1_<class noun>`."
        )
    for concept in concepts:
        available = len(split_held_out([image.path for image in concept.images], experiment.hold_out, concept.name)[0])
        for adapter in experiment.algorithms:
            count = available if adapter.images is None else adapter.images
            if count > available:
                raise InputError(
                    f"Option `images` must be at most the {available} images that `{concept.name}` is trained on, "
                    f"but is {count}."
                )
            if experiment.validation is not None:
                count -= held_out_count(count, experiment.validation.hold_out, concept.name)
            try:
                _check_training(experiment, adapter, concept, count)
            except InputError as error:
                raise InputError(f"Adapter `{adapter.label}` of `{concept.name}`: {error}") from error


def _check_training(experiment: Experiment, adapter: AdapterConfig, concept: Concept, count: int) -> None:
    """Check one training on a number of images, of which any may be the ones that are not held out."""
    from lycoris.training import TrainingSettings

    images = round(count * sum(image.repeats for image in concept.images) / len(concept.images))
    training = TrainingSettings(**settings_for_images(experiment, adapter, images).training)
    training.steps_for(images)
    if training.mask == "file" and not any(find_mask(image.path) for image in concept.images):
        raise InputError(
            f"Setting `mask` is `file`, but no image of `{concept.name}` has a mask, `name.mask.png` beside it; "
            "`lycoris masks` writes masks."
        )
    if training.mask == "alpha" and not _has_transparency(concept):
        raise InputError(f"Setting `mask` is `alpha`, but no image of `{concept.name}` has a transparent area.")


def _has_transparency(concept: Concept) -> bool:
    """Whether an image of a concept has an alpha channel; files that cannot be read are named elsewhere."""
    for image in concept.images:
        with contextlib.suppress(InputError):
            if has_alpha(image.path):
                return True
    return False
