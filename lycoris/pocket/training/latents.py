"""Latents of the plain dataset, stored in chunks that the UNet reads as they appear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL
from torch import Tensor

from lycoris.cache.atomic import atomic_write
from lycoris.pocket.training.dataset import WorldDataset, plain_dataset
from lycoris.pocket.training.trainer import TimeBudget, device
from lycoris.pocket.training.vae import encode_dataset
from lycoris.pocket.training.warm_start import base_part_folder

CHUNK_SIZE = 4_000


def encode_latents(work: Path, budget: TimeBudget) -> None:
    """Encode the dataset chunk by chunk until it is complete or the time is up; processes share the chunks."""
    started = budget.now()
    vae = AutoencoderKL.from_pretrained(base_part_folder(work, "vae")).to(device(), memory_format=torch.channels_last)
    dataset = plain_dataset(work)
    folder = work / "latents"
    folder.mkdir(parents=True, exist_ok=True)
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    for start in range(rank * CHUNK_SIZE, len(dataset), world_size * CHUNK_SIZE):
        path = folder / f"{start:06d}.npy"
        if path.exists() or budget.now() - started > 60 * budget.minutes:
            continue
        rows = slice(start, start + CHUNK_SIZE)
        chunk = WorldDataset(dataset.images[rows], dataset.tags[rows], dataset.details[rows])
        with atomic_write(path) as temporary:
            np.save(temporary, encode_dataset(vae, chunk).half().numpy())
        print(f"latents: {start + len(chunk)}", flush=True)


def finished_chunks(work: Path) -> list[Path]:
    """Files of the chunks encoded so far, in order."""
    return sorted((work / "latents").glob("*.npy"))


def load_latents(paths: list[Path]) -> tuple[Tensor, Tensor]:
    """Latents of shape (count, channels, 16, 16), and the row of each in the dataset."""
    latents = [torch.from_numpy(np.load(path)) for path in paths]
    rows = [int(path.stem) + torch.arange(len(chunk)) for path, chunk in zip(paths, latents, strict=True)]
    return torch.cat(latents), torch.cat(rows)
