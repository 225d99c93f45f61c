"""Concepts without files, and a tiny tagger."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from lycoris.data.concepts import Concept, ConceptImage, Subclass


def build_concept(
    images: int | Sequence[str | None] = 4,
    *,
    name: str = "grumble",
    category: str = "movie_characters",
    trigger: str = "sks",
    class_noun: str = "creature",
    description: str = "purple bear",
    inherent: tuple[str, ...] | None = None,
    keep: tuple[str, ...] = (),
    subclasses: tuple[Subclass, ...] = (),
) -> Concept:
    """Build a concept whose images need not exist; `images` is their number or their subclasses."""
    subclass_names = [None] * images if isinstance(images, int) else list(images)
    return Concept(
        name=name,
        category=category,
        trigger=trigger,
        class_noun=class_noun,
        description=description,
        inherent=inherent,
        keep=keep,
        subclasses=subclasses,
        images=tuple(
            ConceptImage(Path(f"/nowhere/{number}.png"), f"{category}/{name}/{number}.png", subclass)
            for number, subclass in enumerate(subclass_names)
        ),
    )


@pytest.fixture
def concept() -> Callable[..., Concept]:
    return build_concept


ROBE = Subclass("robe", "red robe", "purple bear in a red robe")
COAT = Subclass("coat", "coat", "purple bear in a coat")


@pytest.fixture
def dressed() -> Concept:
    """A concept of three images in each of two outfits."""
    return build_concept(["coat"] * 3 + ["robe"] * 3, subclasses=(ROBE, COAT))


TAGS = [
    ("cat", "species"),
    ("bear", "species"),
    ("long_hair", "general"),
    ("^_^", "general"),
    ("some one", "character"),
    ("safe", "rating"),
]


@pytest.fixture
def tagger_folder(tmp_path: Path) -> Path:
    """A random tagger in the transformers layout, with a tag list like WD's."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    torch.manual_seed(3)
    config = ResNetConfig(
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        layer_type="basic",
        num_labels=len(TAGS),
        problem_type="multi_label_classification",
    )
    folder = tmp_path / "tagger"
    ResNetForImageClassification(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    with (folder / "selected_tags.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tag_id", "name", "category", "count"])
        numbers = {"general": "0", "character": "4", "rating": "9"}
        writer.writerows([index, tag, numbers.get(kind, kind), 1] for index, (tag, kind) in enumerate(TAGS))
    return folder
