"""Datasets of the pocket world, drawn once by seed before training and shared by all models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lycoris.cache.atomic import atomic_write
from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.rendering import IMAGE_SIZE
from lycoris.pocket.world.vocabulary import Tags


@dataclass(frozen=True)
class WorldDataset:
    """Images with their exact tags.

    Args:
        images: bytes of shape (count, height, width, 3).
        tags: attributes of each image.
        details: tags of the details of each image.
    """

    images: np.ndarray
    tags: list[Tags]
    details: list[list[str]]

    def __len__(self) -> int:
        return len(self.tags)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Selected images as floats in [-1, 1] of shape (batch, 3, height, width)."""
        key = indices if isinstance(indices, slice) else indices.numpy()
        return to_floats(torch.from_numpy(np.array(self.images[key])))


def to_floats(images: Tensor) -> Tensor:
    """Convert bytes (batch, height, width, 3) to floats in [-1, 1] (batch, 3, height, width)."""
    return (images.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_bytes(images: Tensor) -> np.ndarray:
    """Convert floats in [-1, 1] (batch, 3, height, width) to bytes (batch, height, width, 3)."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _draw_chunk(arguments: tuple[int, int, bool, float, bool]) -> tuple[np.ndarray, list]:
    start, stop, held_out, detailed_fraction, diverse = arguments
    images = np.empty((stop - start, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    labels = []
    for row, seed in enumerate(range(start, stop)):
        image, tags, details = sample_image(seed, held_out, detailed_fraction, diverse)
        images[row] = np.asarray(image)
        labels.append([astuple(tags), details])
    return images, labels


def load_or_draw(
    work: Path,
    name: str,
    count: int,
    *,
    seed: int,
    held_out: bool = False,
    detailed_fraction: float = 0.0,
    diverse: bool = False,
    workers: int = 1,
) -> WorldDataset:
    """Load a dataset from the work folder, or draw and store it.

    Args:
        work: work folder of all trainings.
        name: file name of the dataset.
        count: number of images.
        seed: seed of the first image; image n has seed + n.
        held_out: draw only combinations held out from training.
        detailed_fraction: share of images that show a character with details, in [0, 1].
        diverse: as in `sample_details`.
        workers: number of processes that draw.
    """
    folder = work / "datasets"
    images_path, labels_path = folder / f"{name}.npy", folder / f"{name}.json"
    if not labels_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            (start, min(start + 1000, seed + count), held_out, detailed_fraction, diverse)
            for start in range(seed, seed + count, 1000)
        ]
        with ProcessPoolExecutor(workers) as pool:
            chunks = list(pool.map(_draw_chunk, parts))
        with atomic_write(images_path) as temporary:
            np.save(temporary, np.concatenate([images for images, _ in chunks]))
        labels_path.write_text(json.dumps([label for _, labels in chunks for label in labels]))
    labels = json.loads(labels_path.read_text())
    return WorldDataset(
        images=np.load(images_path, mmap_mode="r"),
        tags=[Tags(*values) for values, _ in labels],
        details=[details for _, details in labels],
    )


def sample_rows(datasets: Sequence[WorldDataset], counts: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Sample row indices with replacement, `counts[i]` of them from dataset i."""
    return [
        torch.randint(len(dataset), (count,), generator=generator)
        for dataset, count in zip(datasets, counts, strict=True)
    ]


def batch_of_rows(datasets: Sequence[WorldDataset], rows: Sequence[Tensor]) -> Tensor:
    """The images at the given rows of each dataset as one batch of floats in [-1, 1]."""
    return torch.cat([dataset.batch(indices) for dataset, indices in zip(datasets, rows, strict=True)])


TRAINING_SEED, DETAILED_SEED, HELD_OUT_SEED, DIVERSE_SEED = 0, 10_000_000, 20_000_000, 30_000_000


def plain_dataset(work: Path, count: int = 60_000) -> WorldDataset:
    """Training images of the base model: training combinations without details."""
    return load_or_draw(work, f"plain{count}", count, seed=TRAINING_SEED)


def detailed_dataset(work: Path, count: int = 30_000) -> WorldDataset:
    """Additional training images of encoders and autoencoder: two in five show details."""
    return load_or_draw(work, f"detailed{count}", count, seed=DETAILED_SEED, detailed_fraction=0.4)


def diverse_dataset(work: Path, count: int = 60_000) -> WorldDataset:
    """Additional training images of the tagger: all show details, in any number and colour."""
    return load_or_draw(work, f"diverse{count}", count, seed=DIVERSE_SEED, detailed_fraction=1.0, diverse=True)


def held_out_dataset(work: Path, count: int = 1_000) -> WorldDataset:
    """Evaluation images: combinations held out from training."""
    return load_or_draw(work, f"held_out{count}", count, seed=HELD_OUT_SEED, held_out=True)
