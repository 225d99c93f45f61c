"""Classifiers of the pocket world: the judge, the tagger, and the image encoders other than CLIP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import (
    ConvNextV2Config,
    ConvNextV2Model,
    Dinov2Config,
    Dinov2Model,
    RegNetConfig,
    RegNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

from lycoris.pocket.models.labels import ATTRIBUTE_LABELS, LABELS
from lycoris.pocket.models.preprocessing import JUDGE_IMAGE_SIZE
from lycoris.pocket.training.dataset import WorldDataset, detailed_dataset, diverse_dataset


class EncoderClassifier(nn.Module):
    """An image encoder with a linear classification head on its pooled features."""

    encoder: Any

    def __init__(self, encoder: nn.Module, width: int, pool: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.pool = encoder, pool
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.encoder, images))


def _pooler_output(encoder: nn.Module, images: Tensor) -> Tensor:
    return encoder(pixel_values=images).pooler_output


class TransformersClassifier(nn.Module):
    """A transformers classifier as a module from images to logits."""

    encoder: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.encoder = network

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(pixel_values=images).logits


def _label_config(labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "multi_label_classification",
    }


def build_judge() -> TransformersClassifier:
    """Build a ResNet for images of 96x96 pixels."""
    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[48, 96, 160],
        depths=[1, 1, 1],
        layer_type="basic",
        **_label_config(ATTRIBUTE_LABELS),
    )
    return TransformersClassifier(ResNetForImageClassification(config))


def build_tagger() -> TransformersClassifier:
    """Build a RegNet with squeeze-and-excitation."""
    config = RegNetConfig(
        embedding_size=32,
        hidden_sizes=[48, 96, 192],
        depths=[1, 2, 1],
        groups_width=24,
        layer_type="y",
        downsample_in_first_stage=False,
        **_label_config(LABELS),
    )
    return TransformersClassifier(RegNetForImageClassification(config))


def build_convnextv2() -> EncoderClassifier:
    """Build a ConvNeXt V2 of three stages."""
    config = ConvNextV2Config(
        patch_size=4, num_stages=3, hidden_sizes=[64, 128, 224], depths=[1, 2, 1], image_size=64, drop_path_rate=0.0
    )
    return EncoderClassifier(ConvNextV2Model(config), 224, _pooler_output)


def build_dinov2() -> EncoderClassifier:
    """Build a DINOv2 of four layers."""
    config = Dinov2Config(
        hidden_size=160, num_hidden_layers=4, num_attention_heads=4, mlp_ratio=3, image_size=64, patch_size=8
    )
    return EncoderClassifier(Dinov2Model(config), 160, _pooler_output)


VGG_CHANNELS, VGG_DEPTHS = (16, 32, 64, 128, 128), (1, 1, 2, 2, 1)


class PlainVgg(nn.Module):
    """Five blocks of 3x3 convolutions, numbered as in torchvision's VGG."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channels, depth in zip(VGG_CHANNELS, VGG_DEPTHS, strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)


def build_vgg() -> EncoderClassifier:
    """Build a VGG with global max pooling."""
    return EncoderClassifier(PlainVgg(), VGG_CHANNELS[-1], lambda vgg, images: vgg.features(images).amax((2, 3)))


@dataclass(frozen=True)
class ClassifierSpec:
    """How a classifier is built and trained.

    Args:
        build: builds the untrained network.
        labels: labels it predicts.
        seed: seed of its weights and batches.
        image_size: side in pixels of its input images.
        learning_rate: peak learning rate.
        batch_size: images per step on each process.
        detailed_dataset: images of characters with details, half of every batch; `None` trains without them.
    """

    build: Callable[[], EncoderClassifier | TransformersClassifier]
    labels: tuple[str, ...]
    seed: int
    image_size: int = 64
    learning_rate: float = 2e-3
    batch_size: int = 24
    detailed_dataset: Callable[[Path], WorldDataset] | None = detailed_dataset


CLASSIFIER_SPECS = {
    "judge": ClassifierSpec(build_judge, ATTRIBUTE_LABELS, seed=77, image_size=JUDGE_IMAGE_SIZE, detailed_dataset=None),
    "tagger": ClassifierSpec(build_tagger, LABELS, seed=11, detailed_dataset=diverse_dataset),
    "convnextv2": ClassifierSpec(build_convnextv2, LABELS, seed=22),
    "dinov2": ClassifierSpec(build_dinov2, LABELS, seed=33),
    "vgg": ClassifierSpec(build_vgg, LABELS, seed=44),
}
