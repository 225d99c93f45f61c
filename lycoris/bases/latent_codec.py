"""Images to latents and back, with the autoencoder of any family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from lycoris.bases.packing import patchify, unpatchify
from lycoris.bases.shapes import Images, ImageSizes, Latents, Patches
from lycoris.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MAX_BATCH_PIXELS = 2**19
"""Pixels that the autoencoder takes at a time: two images of 512x512."""


class Normalization(Protocol):
    """What brings an autoencoder's latents to the mean and the size that the denoiser was trained on."""

    def normalize(self, latents: Latents) -> Patches:
        """The autoencoder's latents as the denoiser's."""

    def restore(self, latents: Patches) -> Latents:
        """Undo `normalize`."""


class ScaleAndShift:
    """One scale and one shift of the whole latent, as `AutoencoderKL` and `AutoencoderDC` state them."""

    def __init__(self, vae: Any) -> None:
        self._scale, self._shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0

    def normalize(self, latents: Latents) -> Patches:
        """(z - shift) scale."""
        return (latents - self._shift) * self._scale

    def restore(self, latents: Patches) -> Latents:
        """Undo `normalize`."""
        return latents / self._scale + self._shift


class ChannelStatistics:
    """Mean and standard deviation of each channel, as the video autoencoders of Wan and Qwen-Image state them."""

    def __init__(self, vae: Any) -> None:
        self._mean, self._deviation = (
            torch.tensor(values)[None, :, None, None] for values in (vae.config.latents_mean, vae.config.latents_std)
        )

    def normalize(self, latents: Latents) -> Patches:
        """(z - mean) / deviation."""
        return (latents - self._mean.to(latents)) / self._deviation.to(latents)

    def restore(self, latents: Patches) -> Latents:
        """Undo `normalize`."""
        return latents * self._deviation.to(latents) + self._mean.to(latents)


class BatchNormStatistics:
    """Patches of two by two cells as channels, with the running statistics of FLUX.2's batch normalization.

    Args:
        vae: an `AutoencoderKLFlux2`.
        patch_channels_last: whether a patch has its channels within each cell, and not its cells within each channel.
    """

    def __init__(self, vae: Any, *, patch_channels_last: bool) -> None:
        self._statistics, self._epsilon = vae.bn, vae.config.batch_norm_eps
        self._order = torch.arange(4 * vae.config.latent_channels)
        if patch_channels_last:
            self._order = self._order.reshape(-1, 4).T.reshape(-1)

    def normalize(self, latents: Latents) -> Patches:
        """Patches, normalized."""
        mean, deviation = self._moments(latents)
        return (patchify(latents)[:, self._order] - mean) / deviation

    def restore(self, latents: Patches) -> Latents:
        """Undo `normalize`."""
        mean, deviation = self._moments(latents)
        return unpatchify((latents * deviation + mean)[:, self._order.argsort()])

    def _moments(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = (values.to(latents)[None, :, None, None] for values in self._buffers())
        return mean, (variance + self._epsilon).sqrt()

    def _buffers(self) -> tuple[Tensor, Tensor]:
        return self._statistics.running_mean, self._statistics.running_var


class LatentCodec:
    """An autoencoder of diffusers, in any precision; one of videos encodes one frame.

    Attributes:
        scale_factor: pixels per latent cell along each side.
        channels: channels of a latent.

    Args:
        vae: an `AutoencoderKL`, `AutoencoderKLFlux2`, `AutoencoderKLQwenImage`, `AutoencoderKLWan` or `AutoencoderDC`.
        patch_channels_last: see `BatchNormStatistics`.
    """

    def __init__(self, vae: Any, *, patch_channels_last: bool = False) -> None:
        self._vae, config = vae, vae.config
        self._has_frames = "latents_mean" in config and "temperal_downsample" in config
        self._normalization: Normalization
        if self._has_frames:
            self.scale_factor = config.get("scale_factor_spatial") or 2 ** len(config.temperal_downsample)
            self.channels = config.z_dim
            self._normalization = ChannelStatistics(vae)
        elif "batch_norm_eps" in config:
            self.scale_factor = 2 ** len(config.block_out_channels)
            self.channels = 4 * config.latent_channels
            self._normalization = BatchNormStatistics(vae, patch_channels_last=patch_channels_last)
        else:
            blocks = config.get("block_out_channels") or config.encoder_block_out_channels
            self.scale_factor, self.channels = 2 ** (len(blocks) - 1), config.latent_channels
            self._normalization = ScaleAndShift(vae)

    @torch.no_grad()
    def encode(self, images: Images, generator: torch.Generator | None = None) -> Latents:
        """Encode images in [0, 1] as normalized latents: the posterior's mean, or a sample if a generator is given."""
        pixels = images.to(self._vae.device, self._vae.dtype) * 2 - 1
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        latents = [self._encode(batch, generator) for batch in pixels.split(_images_per_batch(*images.shape[-2:]))]
        normalized = self._normalization.normalize(torch.cat(latents).float())
        if not torch.isfinite(normalized).all():
            dtype = str(self._vae.dtype).removeprefix("torch.")
            raise InputError(
                f"The VAE of the base encodes an image as NaN or infinity in {dtype}: "
                "open the base in another `dtype`, or pass another `vae`."
            )
        return normalized

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Decode normalized latents to images in [0, 1]."""
        restored = self._normalization.restore(latents).to(self._vae.device, self._vae.dtype)
        rows, columns = latents.shape[-2:]
        count = _images_per_batch(rows * self.scale_factor, columns * self.scale_factor)
        pixels = torch.cat([self._decode(batch) for batch in restored.split(count)])
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    def _encode(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        encoded = self._vae.encode(pixels[:, :, None] if self._has_frames else pixels)
        if not hasattr(encoded, "latent_dist"):
            return encoded.latent
        posterior = encoded.latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return latents[:, :, 0] if self._has_frames else latents

    def _decode(self, latents: Tensor) -> Tensor:
        if self._has_frames:
            return self._vae.decode(latents[:, :, None], return_dict=False)[0][:, :, 0]
        return self._vae.decode(latents, return_dict=False)[0]


def default_size_conditioning(latents: Latents, scale_factor: int) -> ImageSizes:
    """SDXL's size conditioning for images that were neither resized nor cropped.

    Args:
        latents: latents of the images.
        scale_factor: pixels per latent cell along each side.

    Returns:
        Original (height, width), crop (0, 0) and target (height, width), in pixels.
    """
    height, width = latents.shape[-2] * scale_factor, latents.shape[-1] * scale_factor
    return torch.tensor([[height, width, 0, 0, height, width]], device=latents.device).float().expand(len(latents), 6)


def _images_per_batch(height: int, width: int) -> int:
    return max(1, MAX_BATCH_PIXELS // (height * width))
