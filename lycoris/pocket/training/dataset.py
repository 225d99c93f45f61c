"""Pictures drawn ahead of training: one array of bytes and their tags, made once by seed and shared by every part."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.rendering import IMAGE_SIZE
from lycoris.pocket.world.vocabulary import Tags


@dataclass(frozen=True)
class WorldDataset:
    """Drawn pictures with what they show.

    Args:
        pictures: bytes of shape (count, height, width, 3).
        tags: of each picture.
        details: words for the details of each picture.
    """

    images: np.ndarray
    tags: list[Tags]
    details: list[list[str]]

    def __len__(self) -> int:
        return len(self.tags)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Pictures as floats in [-1, 1] of shape (batch, 3, height, width)."""
        key = indices if isinstance(indices, slice) else indices.numpy()
        return to_floats(torch.from_numpy(np.array(self.images[key])))


def to_floats(images: Tensor) -> Tensor:
    """Bytes (batch, height, width, 3) to floats in [-1, 1] (batch, 3, height, width)."""
    return (images.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_bytes(images: Tensor) -> np.ndarray:
    """Floats in [-1, 1] (batch, 3, height, width) to bytes (batch, height, width, 3)."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _draw_chunk(arguments: tuple[int, int, bool, float, bool]) -> tuple[np.ndarray, list]:
    start, stop, unseen, individuals, free = arguments
    pictures = np.empty((stop - start, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    facts = []
    for row, seed in enumerate(range(start, stop)):
        picture, tags, details = sample_image(seed, unseen, individuals, free)
        pictures[row] = np.asarray(picture)
        facts.append([astuple(tags), details])
    return pictures, facts


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
    """Draw a stock, or open it when it was drawn before.

    Args:
        work: folder of everything that training keeps.
        name: of the stock.
        count: pictures.
        seed: of the first picture; the n-th has seed + n.
        unseen: whether the combinations are those kept from training.
        individuals: share of pictures that show an individual with details.
        free: whether those have any number of details, in any colours.
        workers: processes that draw.
    """
    folder = work / "stock"
    bytes_path, facts_path = folder / f"{name}.npy", folder / f"{name}.json"
    if not facts_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            (start, min(start + 1000, seed + count), held_out, detailed_fraction, diverse)
            for start in range(seed, seed + count, 1000)
        ]
        with ProcessPoolExecutor(workers) as pool:
            drawn = list(pool.map(_draw_chunk, parts))
        partial = bytes_path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, np.concatenate([pictures for pictures, _ in drawn]))
        os.replace(partial, bytes_path)
        facts_path.write_text(json.dumps([fact for _, facts in drawn for fact in facts]))
    facts = json.loads(facts_path.read_text())
    return WorldDataset(
        images=np.load(bytes_path, mmap_mode="r"),
        tags=[Tags(*values) for values, _ in facts],
        details=[details for _, details in facts],
    )


TRAINING_SEED, DETAILED_SEED, HELD_OUT_SEED, DIVERSE_SEED = 0, 10_000_000, 20_000_000, 30_000_000


def plain_dataset(work: Path, count: int = 60_000) -> WorldDataset:
    """What the base learns from: the plain world, seen combinations."""
    return load_or_draw(work, f"plain{count}", count, seed=TRAINING_SEED)


def detailed_dataset(work: Path, count: int = 30_000) -> WorldDataset:
    """What encoders and autoencoder learn from as well: two pictures in five show individuals."""
    return load_or_draw(work, f"detailed{count}", count, seed=DETAILED_SEED, detailed_fraction=0.4)


def diverse_dataset(work: Path, count: int = 60_000) -> WorldDataset:
    """What the tagger learns from as well: nothing but individuals, with any details."""
    return load_or_draw(work, f"individual{count}", count, seed=DIVERSE_SEED, detailed_fraction=1.0, diverse=True)


def held_out_dataset(work: Path, count: int = 1_000) -> WorldDataset:
    """What everything is measured on: combinations that no training shows."""
    return load_or_draw(work, f"unseen{count}", count, seed=HELD_OUT_SEED, held_out=True)
