"""Latents of the plain stock, in chunks that the denoiser takes up as they come."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL
from torch import Tensor

from lycoris.pocket.training.dataset import WorldDataset, plain_dataset
from lycoris.pocket.training.trainer import TimeBudget, device
from lycoris.pocket.training.vae import encode_dataset
from lycoris.pocket.training.warm_start import base_part_folder

CHUNK_SIZE = 4_000


def encode_latents(work: Path, budget: TimeBudget) -> None:
    """Encode chunk after chunk until all are there or the time is over; several processes take turns."""
    begun = budget.now()
    vae = AutoencoderKL.from_pretrained(base_part_folder(work, "vae")).to(device(), memory_format=torch.channels_last)
    pictures = plain_dataset(work)
    folder = work / "latents"
    folder.mkdir(parents=True, exist_ok=True)
    rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    for start in range(rank * CHUNK_SIZE, len(pictures), workers * CHUNK_SIZE):
        path = folder / f"{start:06d}.npy"
        if path.exists() or budget.now() - begun > 60 * budget.minutes:
            continue
        rows = slice(start, start + CHUNK_SIZE)
        part = WorldDataset(pictures.images[rows], pictures.tags[rows], pictures.details[rows])
        partial = folder / f"{start}.{os.getpid()}.part"
        with partial.open("wb") as file:
            np.save(file, encode_dataset(vae, part).half().numpy())
        os.replace(partial, path)
        print(f"latents {start + len(part)}", flush=True)


def finished_chunks(work: Path) -> list[Path]:
    """The chunks that are there, in order."""
    return sorted((work / "latents").glob("*.npy"))


def load_latents(chunks: list[Path]) -> tuple[Tensor, Tensor]:
    """Latents of shape (count, channels, 16, 16) and the row in the stock that each belongs to."""
    latents = [torch.from_numpy(np.load(chunk)) for chunk in chunks]
    rows = [int(chunk.stem) + torch.arange(len(part)) for chunk, part in zip(chunks, latents, strict=True)]
    return torch.cat(latents), torch.cat(rows)
