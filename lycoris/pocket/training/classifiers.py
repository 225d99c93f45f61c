"""Training of the five classifiers.

Each predicts the exact tags of the pocket world, one sigmoid per label, from its own seed and with its own
architecture. Tagger and encoders also see characters with details; the judge, which only evaluates the base model, does
not.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lycoris.pocket import WEIGHTS
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS
from lycoris.pocket.models.preprocessing import augment_images, resize_images
from lycoris.pocket.training.dataset import WorldDataset, batch_of_rows, held_out_dataset, plain_dataset, sample_rows
from lycoris.pocket.training.multilabel import attribute_accuracy, label_loss, target_matrix
from lycoris.pocket.training.networks import (
    CLASSIFIER_SPECS,
    VGG_CHANNELS,
    VGG_DEPTHS,
    ClassifierSpec,
    EncoderClassifier,
    TransformersClassifier,
)
from lycoris.pocket.training.trainer import TimeBudget, Trainer, TrainerConfig, device, mixed_precision
from lycoris.pocket.training.warm_start import warm_start


def train_classifier(name: str, work: Path, budget: TimeBudget) -> None:
    """Train one classifier and save it under `work/parts`."""
    spec = CLASSIFIER_SPECS[name]
    torch.manual_seed(spec.seed)
    network = spec.build().to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's types
    warm_start(network.encoder, WEIGHTS / name)
    config = TrainerConfig(spec.learning_rate, average_decay=0.99, weight_decay=0.02)
    trainer = Trainer(name, {"network": network}, config, budget=budget, work=work)
    trainer.generator.manual_seed(spec.seed * 1_000_003 + trainer.samples)
    datasets = [plain_dataset(work)]
    if spec.detailed_dataset is not None:
        datasets.append(spec.detailed_dataset(work))
    targets = [target_matrix(dataset, spec.labels) for dataset in datasets]
    counts = [spec.batch_size // len(datasets)] * len(datasets)
    while trainer.has_time():
        rows = sample_rows(datasets, counts, trainer.generator)
        images = augment_images(batch_of_rows(datasets, rows), trainer.generator)
        images = resize_images(images, spec.image_size).to(device())
        batch_targets = torch.cat([matrix[indices] for matrix, indices in zip(targets, rows, strict=True)]).to(device())
        with mixed_precision():
            logits = network(images)
        trainer.step(label_loss(logits.float(), batch_targets), len(images))
    trainer.save()
    recompute_batch_norm(network, datasets, spec, trainer)
    with trainer.averaged_weights():
        held_out = held_out_dataset(work)
        logits = classify(network, held_out.batch(slice(0, len(held_out))), spec.image_size)
        accuracy = attribute_accuracy(logits, held_out.tags)
        print(name, {key: round(value, 3) for key, value in accuracy.items()}, flush=True)
        save_classifier(name, network, work / "parts" / name, target_matrix(plain_dataset(work), spec.labels).sum(0))


@torch.no_grad()
def recompute_batch_norm(
    network: nn.Module, datasets: list[WorldDataset], spec: ClassifierSpec, trainer: Trainer
) -> None:
    """Recompute batch normalization statistics for the averaged weights; without effect on other networks."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    with trainer.averaged_weights():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        network.train()
        for dataset in datasets:
            for start in range(0, 1500, 50):
                images = augment_images(dataset.batch(slice(start, start + 50)), trainer.generator)
                network(resize_images(images, spec.image_size).to(device()))


@torch.no_grad()
def classify(network: nn.Module, images: Tensor, size: int, batch_size: int = 100) -> Tensor:
    """Logits of images in [-1, 1], resized to `size` pixels a side and classified in batches."""
    batches = images.split(batch_size)
    return torch.cat([network(resize_images(batch, size).to(device())).float().cpu() for batch in batches])


def preprocessor_config(size: int) -> dict[str, Any]:
    """Content of `preprocessor_config.json`."""
    return {
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "ViTImageProcessor",
    }


def save_classifier(
    name: str, network: EncoderClassifier | TransformersClassifier, folder: Path, counts: Tensor
) -> None:
    """Save a classifier in the layout of its full-size counterpart, with the list of its tags if it is a tagger."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = CLASSIFIER_SPECS[name]
    if name == "vgg":
        state = {key: value.half().contiguous() for key, value in network.encoder.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        config = {"model_type": "vgg", "channels": VGG_CHANNELS, "depths": VGG_DEPTHS}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    else:
        network.encoder.save_pretrained(folder)
    preprocessing = json.dumps(preprocessor_config(spec.image_size), indent=2)
    (folder / "preprocessor_config.json").write_text(preprocessing + "\n")
    if isinstance(network, TransformersClassifier):
        category = {tag: attribute for attribute, tags in ATTRIBUTE_TAGS.items() for tag in tags}
        lines = ["tag_id,name,category,count"]
        for index, label in enumerate(spec.labels):
            lines.append(f"{index},{label},{category.get(label, 'detail')},{int(counts[index])}")
        (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n")


train_judge = partial(train_classifier, "judge")
train_tagger = partial(train_classifier, "tagger")
train_convnextv2 = partial(train_classifier, "convnextv2")
train_dinov2 = partial(train_classifier, "dinov2")
train_vgg = partial(train_classifier, "vgg")
