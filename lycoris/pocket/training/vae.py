"""The autoencoder: 64x64 images to 16x16 latents of 4 channels, whitened so that the scaling factor is 1.

Training has two stages: encoder and decoder together, then, after the latents are whitened, the decoder alone. The
UNet depends on the encoder, which is therefore frozen in the second stage.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from lycoris.pocket import BASE
from lycoris.pocket.training.dataset import (
    WorldDataset,
    batch_of_rows,
    detailed_dataset,
    held_out_dataset,
    plain_dataset,
    sample_rows,
)
from lycoris.pocket.training.trainer import TimeBudget, Trainer, TrainerConfig, device, mixed_precision
from lycoris.pocket.training.warm_start import base_part_folder, warm_start

LATENT_CHANNELS = 4
BLOCK_WIDTHS = (16, 32, 64)
"""Channels of the three resolutions; two downsamplings preserve edges and eyes better than three."""
POSTERIOR_STD = 0.08
"""Fixed standard deviation of the posterior; learning it did not help at this size."""


def build_vae() -> AutoencoderKL:
    """Build the network with a fixed posterior deviation and at least 8 channels per normalization group."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(BLOCK_WIDTHS),
        up_block_types=("UpDecoderBlock2D",) * len(BLOCK_WIDTHS),
        block_out_channels=BLOCK_WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = 2 * torch.tensor(POSTERIOR_STD).log()
    return vae.to(memory_format=torch.channels_last)


def reconstruction_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Weighted sum of absolute, squared, chroma (full size and pooled) and edge errors."""
    error = reconstruction - image

    def chroma(e: Tensor) -> Tensor:
        return (e[:, 0] - e[:, 1]).abs().mean() + (e[:, 2] - 0.5 * (e[:, 0] + e[:, 1])).abs().mean()

    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return (
        error.abs().mean()
        + 2 * error.square().mean()
        + 0.5 * chroma(error)
        + chroma(F.avg_pool2d(error, 4))
        + 0.3 * edges
    )


def _sample_batch(datasets: list[WorldDataset], size: int, generator: torch.Generator) -> Tensor:
    """Sample a batch from two datasets, mirror it at random and recolour one image in eight, for unseen concepts."""
    rows = sample_rows(datasets, [size - size // 4, size // 4], generator)
    images = batch_of_rows(datasets, [indices.sort().values for indices in rows])
    if torch.rand((), generator=generator) < 0.5:
        images = images.flip(3)
    recoloured = size // 8
    images[:recoloured] = images[:recoloured, torch.randperm(3, generator=generator)]
    if torch.rand((), generator=generator) < 0.5:
        images[:recoloured] = -images[:recoloured]
    return images.contiguous(memory_format=torch.channels_last)


def train_vae(work: Path, budget: TimeBudget, batch_size: int = 12, learning_rate: float = 4e-3) -> AutoencoderKL:
    """First stage: train encoder and decoder together, then whiten the latents."""
    torch.manual_seed(0)
    vae = build_vae().to(device())
    warm_start(vae, BASE / "vae")
    config = TrainerConfig(learning_rate, average_decay=0.995)
    trainer = Trainer("vae", {"vae": vae}, config, budget=budget, work=work)
    datasets = [plain_dataset(work), detailed_dataset(work)]
    while trainer.has_time():
        images = _sample_batch(datasets, batch_size, trainer.generator).to(device())
        with mixed_precision():
            mean = vae.encode(images).latent_dist.mean
            noise = POSTERIOR_STD * torch.randn(mean.shape, generator=trainer.generator).to(device())
            reconstruction = vae.decode(mean + noise).sample
        loss = reconstruction_loss(reconstruction.float(), images) + 1e-3 * mean.float().square().mean()
        trainer.step(loss, batch_size)
    trainer.save()
    with trainer.averaged_weights():
        if trainer.rank == 0:
            whiten(vae, datasets[0])
            vae.save_pretrained(work / "parts" / "vae")
            print(f"vae: {psnr(vae, work):.2f} dB on held-out images", flush=True)
    return vae


def train_decoder(work: Path, budget: TimeBudget, batch_size: int = 12, learning_rate: float = 3e-3) -> AutoencoderKL:
    """Second stage: train the decoder alone, with the encoder frozen."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(base_part_folder(work, "vae")).to(device(), memory_format=torch.channels_last)
    modules = {"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}
    config = TrainerConfig(learning_rate, average_decay=0.995)
    trainer = Trainer("decoder", modules, config, budget=budget, work=work)
    datasets = [plain_dataset(work), detailed_dataset(work)]
    while trainer.has_time():
        images = _sample_batch(datasets, batch_size, trainer.generator).to(device())
        with mixed_precision():
            with torch.no_grad():
                latents = vae.encode(images).latent_dist.sample()
            reconstruction = vae.decode(latents).sample
        trainer.step(reconstruction_loss(reconstruction.float(), images), batch_size)
    trainer.save()
    with trainer.averaged_weights():
        if trainer.rank == 0:
            vae.save_pretrained(work / "parts" / "vae_refined")
            print(f"decoder: {psnr(vae, work):.2f} dB on held-out images", flush=True)
    return vae


@torch.no_grad()
def encode_dataset(
    vae: AutoencoderKL, dataset: WorldDataset, limit: int | None = None, batch_size: int = 100
) -> Tensor:
    """Encode a dataset, or its first `limit` images, to latents of shape (count, channels, 16, 16)."""
    count = min(limit or len(dataset), len(dataset))
    latents = []
    for start in range(0, count, batch_size):
        images = dataset.batch(slice(start, min(start + batch_size, count))).to(device())
        latents.append(vae.encode(images).latent_dist.mean.cpu().contiguous())
    return torch.cat(latents)


@torch.no_grad()
def whiten(vae: AutoencoderKL, dataset: WorldDataset, sample_count: int = 3000) -> None:
    """Standardize every latent channel, by folding mean and deviation into the adjacent 1x1 convolutions."""
    latents = encode_dataset(vae, dataset, sample_count)
    mean, deviation = latents.mean((0, 2, 3)).to(device()), latents.std((0, 2, 3)).to(device())
    into, out_of = vae.quant_conv, vae.post_quant_conv
    into.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
    into.bias[:LATENT_CHANNELS] = (into.bias[:LATENT_CHANNELS] - mean) / deviation
    into.bias[LATENT_CHANNELS:] = (torch.full_like(deviation, POSTERIOR_STD) / deviation).log() * 2
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean
    out_of.weight *= deviation[None, :, None, None]


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor, batch_size: int = 50) -> Tensor:
    """Encode and decode images in [-1, 1]."""
    batches = images.split(batch_size)
    decoded = [vae.decode(vae.encode(batch.to(device())).latent_dist.mean).sample for batch in batches]
    return torch.cat(decoded).clamp(-1, 1).cpu()


def psnr(vae: AutoencoderKL, work: Path, count: int = 300) -> float:
    """Mean peak signal-to-noise ratio of reconstructed held-out images, in decibels."""
    images = held_out_dataset(work).batch(slice(0, count))
    error = ((reconstruct(vae, images) - images) / 2).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())
