"""The autoencoder: 64x64 pictures to 16x16 latents of 4 channels, whitened so that the scaling factor is 1.

It learns in two stages. First encoder and decoder together; then latents are whitened, the encoder is frozen (the
denoiser depends on it) and only the decoder goes on learning.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from lycoris.pocket import BASE
from lycoris.pocket.training.dataset import WorldDataset, detailed_dataset, held_out_dataset, plain_dataset
from lycoris.pocket.training.trainer import TimeBudget, Trainer, device, mixed_precision
from lycoris.pocket.training.warm_start import base_part_folder, warm_start

LATENT_CHANNELS = 4
BLOCK_WIDTHS = (16, 32, 64)
"""Of the three resolutions. Halving twice and not three times keeps edges and eyes where they are."""
POSTERIOR_STD = 0.08
"""Fixed: a learned one was of no use at this size."""


def build_vae() -> AutoencoderKL:
    """The network, with a fixed posterior deviation; group norm has at least 8 channels a group."""
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
    """Absolute and squared error, error of the hues (fine and pooled), and error of the edges."""
    error = reconstruction - image

    def hues(e: Tensor) -> Tensor:
        return (e[:, 0] - e[:, 1]).abs().mean() + (e[:, 2] - 0.5 * (e[:, 0] + e[:, 1])).abs().mean()

    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return (
        error.abs().mean() + 2 * error.square().mean() + 0.5 * hues(error) + hues(F.avg_pool2d(error, 4)) + 0.3 * edges
    )


def _sample_batch(stocks: list[WorldDataset], size: int, generator: torch.Generator) -> Tensor:
    """Pictures of all stocks, mirrored and now and then in other colours, so that new concepts survive too."""
    shares = [size - size // 4, size // 4]
    parts = [
        stock.batch(torch.randint(len(stock), (share,), generator=generator).sort().values)
        for stock, share in zip(stocks, shares, strict=True)
    ]
    pictures = torch.cat(parts)
    if torch.rand((), generator=generator) < 0.5:
        pictures = pictures.flip(3)
    odd = size // 8
    pictures[:odd] = pictures[:odd, torch.randperm(3, generator=generator)]
    if torch.rand((), generator=generator) < 0.5:
        pictures[:odd] = -pictures[:odd]
    return pictures.contiguous(memory_format=torch.channels_last)


def train_vae(work: Path, budget: TimeBudget, batch: int = 12, rate: float = 4e-3) -> AutoencoderKL:
    """First stage: encoder and decoder together."""
    torch.manual_seed(0)
    vae = build_vae().to(device())
    warm_start(vae, BASE / "vae")
    course = Trainer("vae", {"vae": vae}, budget=budget, work=work, rate=rate, average=0.995)
    stocks = [plain_dataset(work), detailed_dataset(work)]
    while course.has_time():
        pictures = _sample_batch(stocks, batch, course.generator).to(device())
        with mixed_precision():
            mean = vae.encode(pictures).latent_dist.mean
            noise = POSTERIOR_STD * torch.randn(mean.shape, generator=course.generator).to(device())
            again = vae.decode(mean + noise).sample
        loss = reconstruction_loss(again.float(), pictures) + 1e-3 * mean.float().square().mean()
        course.step(loss, batch)
    course.save()
    with course.averaged_weights():
        if course.rank == 0:
            whiten(vae, stocks[0])
            vae.save_pretrained(work / "parts" / "vae")
            print(f"vae: {psnr(vae, work):.2f} dB on unseen pictures", flush=True)
    return vae


def train_decoder(work: Path, budget: TimeBudget, batch: int = 12, rate: float = 3e-3) -> AutoencoderKL:
    """Second stage: the decoder alone, behind the encoder that the denoiser knows."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(base_part_folder(work, "vae")).to(device(), memory_format=torch.channels_last)
    modules = {"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}
    course = Trainer("decoder", modules, budget=budget, work=work, rate=rate, average=0.995)
    stocks = [plain_dataset(work), detailed_dataset(work)]
    while course.has_time():
        pictures = _sample_batch(stocks, batch, course.generator).to(device())
        with mixed_precision():
            with torch.no_grad():
                latents = vae.encode(pictures).latent_dist.sample()
            again = vae.decode(latents).sample
        course.step(reconstruction_loss(again.float(), pictures), batch)
    course.save()
    with course.averaged_weights():
        if course.rank == 0:
            vae.save_pretrained(work / "parts" / "vae_refined")
            print(f"decoder: {psnr(vae, work):.2f} dB on unseen pictures", flush=True)
    return vae


@torch.no_grad()
def encode_dataset(vae: AutoencoderKL, dataset: WorldDataset, limit: int | None = None, batch: int = 100) -> Tensor:
    """Latents of a stock, of shape (count, channels, 16, 16)."""
    count = min(limit or len(dataset), len(dataset))
    parts = []
    for start in range(0, count, batch):
        floats = dataset.batch(slice(start, min(start + batch, count))).to(device())
        parts.append(vae.encode(floats).latent_dist.mean.cpu().contiguous())
    return torch.cat(parts)


@torch.no_grad()
def whiten(vae: AutoencoderKL, dataset: WorldDataset, sample_count: int = 3000) -> None:
    """Give every latent channel mean 0 and deviation 1, folded into the two 1x1 convolutions beside it."""
    latents = encode_dataset(vae, dataset, sample_count)
    mean, deviation = latents.mean((0, 2, 3)).to(device()), latents.std((0, 2, 3)).to(device())
    into, out_of = vae.quant_conv, vae.post_quant_conv
    into.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
    into.bias[:LATENT_CHANNELS] = (into.bias[:LATENT_CHANNELS] - mean) / deviation
    into.bias[LATENT_CHANNELS:] = (torch.full_like(deviation, POSTERIOR_STD) / deviation).log() * 2
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean
    out_of.weight *= deviation[None, :, None, None]


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor, batch: int = 50) -> Tensor:
    """What is left of pictures in [-1, 1] after encoding and decoding."""
    parts = [vae.decode(vae.encode(part.to(device())).latent_dist.mean).sample for part in images.split(batch)]
    return torch.cat(parts).clamp(-1, 1).cpu()


def psnr(vae: AutoencoderKL, work: Path, count: int = 300) -> float:
    """Mean peak signal-to-noise ratio in decibels over unseen pictures."""
    pictures = held_out_dataset(work).batch(slice(0, count))
    error = ((reconstruct(vae, pictures) - pictures) / 2).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())
