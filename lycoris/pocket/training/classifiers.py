"""Training the five networks that see.

All learn the exact tags of the drawn world (many labels a picture, each decided by its own sigmoid), each from its
own seed and with its own kind of network. Taggers and encoders also see individuals with details; the judge, used
for nothing but measuring the base, does not.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lycoris.pocket import WEIGHTS
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, attribute_accuracy, label_loss, target_matrix
from lycoris.pocket.models.networks import (
    CLASSIFIER_SPECS,
    VGG_CHANNELS,
    VGG_DEPTHS,
    ClassifierSpec,
    EncoderClassifier,
    TransformersClassifier,
)
from lycoris.pocket.training.dataset import WorldDataset, held_out_dataset, plain_dataset
from lycoris.pocket.training.trainer import TimeBudget, Trainer, device, mixed_precision
from lycoris.pocket.training.warm_start import warm_start


def augment_images(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures as a model might draw them: shifted, mirrored, blurred, noisy, lighter or darker."""

    def chance(p: float) -> bool:
        return bool(torch.rand((), generator=generator) < p)

    if chance(0.5):
        images = images.flip(3)
    dx, dy = torch.randint(-3, 4, (2,), generator=generator).tolist()
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    images = padded[:, :, 3 + dy : 67 + dy, 3 + dx : 67 + dx]
    if chance(0.4):
        side = int(torch.randint(28, 56, (), generator=generator))
        small = F.interpolate(images, size=side, mode="bilinear", antialias=True)
        images = F.interpolate(small, size=64, mode="bilinear")
    shape = (len(images), 1, 1, 1)
    gain = 1 + 0.08 * torch.randn(shape, generator=generator)
    shift = 0.05 * torch.randn((len(images), 3, 1, 1), generator=generator)
    noise = 0.08 * torch.rand(shape, generator=generator) * torch.randn(images.shape, generator=generator)
    return (images * gain + shift + noise).contiguous(memory_format=torch.channels_last)


def resize_images(images: Tensor, size: int) -> Tensor:
    """Pictures at the side that a network looks at, bicubic as its preprocessing file says."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


def train_classifier(name: str, work: Path, budget: TimeBudget) -> None:
    """Train one part and save it under `work/parts`."""
    part = CLASSIFIER_SPECS[name]
    torch.manual_seed(part.seed)
    network = part.build().to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's types
    warm_start(network.encoder, WEIGHTS / name)
    course = Trainer(
        name, {"network": network}, budget=budget, work=work, rate=part.learning_rate, average=0.99, decay=0.02
    )
    course.generator.manual_seed(part.seed * 1_000_003 + course.samples)
    stocks = (
        [plain_dataset(work)] if part.detailed_dataset is None else [plain_dataset(work), part.detailed_dataset(work)]
    )
    answers = [target_matrix(stock, part.labels) for stock in stocks]
    share = part.batch_size // len(stocks)
    while course.has_time():
        chosen = [torch.randint(len(stock), (share,), generator=course.generator) for stock in stocks]
        pictures = torch.cat([stock.batch(rows) for stock, rows in zip(stocks, chosen, strict=True)])
        wanted = torch.cat([answer[rows] for answer, rows in zip(answers, chosen, strict=True)]).to(device())
        pictures = resize_images(augment_images(pictures, course.generator), part.image_size).to(device())
        with mixed_precision():
            scores = network(pictures)
        course.step(label_loss(scores.float(), wanted), len(pictures))
    course.save()
    recompute_batch_norm(network, stocks, part, course)
    with course.averaged_weights():
        unseen = held_out_dataset(work)
        scores = classify(network, unseen.batch(slice(0, len(unseen))), part.image_size)
        print(
            name, {key: round(value, 3) for key, value in attribute_accuracy(scores, unseen.tags).items()}, flush=True
        )
        save_classifier(name, network, work / "parts" / name, target_matrix(plain_dataset(work), part.labels).sum(0))


@torch.no_grad()
def recompute_batch_norm(network: nn.Module, stocks: list[WorldDataset], part: ClassifierSpec, course: Trainer) -> None:
    """Measure batch statistics anew under the averaged weights, for the networks that have any."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    with course.averaged_weights():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        network.train()
        for stock in stocks:
            for start in range(0, 1500, 50):
                pictures = augment_images(stock.batch(slice(start, start + 50)), course.generator)
                network(resize_images(pictures, part.image_size).to(device()))


@torch.no_grad()
def classify(network: nn.Module, images: Tensor, size: int, batch: int = 100) -> Tensor:
    """Logits for pictures in [-1, 1] of any number."""
    return torch.cat([network(resize_images(part, size).to(device())).float().cpu() for part in images.split(batch)])


def preprocessor_config(size: int) -> dict:
    """The content of `preprocessor_config.json`."""
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
    """Write a part as its full-size sibling is written, with the list of its tags where it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "vgg":
        state = {key: value.half().contiguous() for key, value in network.encoder.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        config = {"model_type": "vgg", "channels": VGG_CHANNELS, "depths": VGG_DEPTHS}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    else:
        network.encoder.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(preprocessor_config(CLASSIFIER_SPECS[name].image_size), indent=2) + "\n"
    )
    if isinstance(network, TransformersClassifier):
        category = {tag: group for group, tags in ATTRIBUTE_TAGS.items() for tag in tags}
        lines = ["tag_id,name,category,count"]
        for index, label in enumerate(CLASSIFIER_SPECS[name].labels):
            lines.append(f"{index},{label},{category.get(label, 'detail')},{int(counts[index])}")
        (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n")


train_judge = partial(train_classifier, "judge")
train_tagger = partial(train_classifier, "tagger")
train_convnextv2 = partial(train_classifier, "convnextv2")
train_dinov2 = partial(train_classifier, "dinov2")
train_vgg = partial(train_classifier, "vgg")
