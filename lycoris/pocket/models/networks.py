"""Five networks that see: the judge, the tagger, and the image encoders of three kinds beside CLIP."""

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

from lycoris.pocket.models.labels import BASIC, LABELS
from lycoris.pocket.training.dataset import Stock, detailed_stock, individual_stock


class Seer(nn.Module):
    """An encoder and a linear reading of its features."""

    encoder: Any

    def __init__(self, encoder: nn.Module, width: int, read: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.read = encoder, read
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.read(self.encoder, pictures))


def _pooled(encoder: nn.Module, pictures: Tensor) -> Tensor:
    return encoder(pixel_values=pictures).pooler_output


def _logits(network: nn.Module, pictures: Tensor) -> Tensor:
    return network(pixel_values=pictures).logits


class Labelled(nn.Module):
    """A transformers classifier that takes a picture and gives logits."""

    encoder: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.encoder = network

    def forward(self, pictures: Tensor) -> Tensor:
        return _logits(self.encoder, pictures)


def _names(labels: tuple[str, ...]) -> dict:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "multi_label_classification",
    }


def build_judge() -> Labelled:
    """A ResNet that looks at the picture enlarged to 96."""
    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[48, 96, 160], depths=[1, 1, 1], layer_type="basic", **_names(BASIC)
    )
    return Labelled(ResNetForImageClassification(config))


def build_tagger() -> Labelled:
    """A RegNet with squeeze and excitation."""
    config = RegNetConfig(
        embedding_size=32,
        hidden_sizes=[48, 96, 192],
        depths=[1, 2, 1],
        groups_width=24,
        layer_type="y",
        downsample_in_first_stage=False,
        **_names(LABELS),
    )
    return Labelled(RegNetForImageClassification(config))


def build_convnextv2() -> Seer:
    config = ConvNextV2Config(
        patch_size=4, num_stages=3, hidden_sizes=[64, 128, 224], depths=[1, 2, 1], image_size=64, drop_path_rate=0.0
    )
    return Seer(ConvNextV2Model(config), 224, _pooled)


def build_dinov2() -> Seer:
    config = Dinov2Config(
        hidden_size=160, num_hidden_layers=4, num_attention_heads=4, mlp_ratio=3, image_size=64, patch_size=8
    )
    return Seer(Dinov2Model(config), 160, _pooled)


VGG_CHANNELS, VGG_DEPTHS = (16, 32, 64, 128, 128), (1, 1, 2, 2, 1)


class PlainStack(nn.Module):
    """Five blocks of 3x3 convolutions, numbered as torchvision's VGG numbers them."""

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


def build_vgg() -> Seer:
    return Seer(PlainStack(), VGG_CHANNELS[-1], lambda stack, pictures: stack.features(pictures).amax((2, 3)))


@dataclass(frozen=True)
class Part:
    """How one of the five is built and trained; from the plain world, and as much of individuals."""

    build: Callable[[], Seer | Labelled]
    labels: tuple[str, ...]
    seed: int
    side: int = 64
    rate: float = 2e-3
    batch: int = 24
    individuals: Callable[[Path], Stock] | None = detailed_stock


PARTS = {
    "judge": Part(build_judge, BASIC, seed=77, side=96, individuals=None),
    "tagger": Part(build_tagger, LABELS, seed=11, individuals=individual_stock),
    "convnextv2": Part(build_convnextv2, LABELS, seed=22),
    "dinov2": Part(build_dinov2, LABELS, seed=33),
    "vgg": Part(build_vgg, LABELS, seed=44),
}
