"""Images to latents and back, with the autoencoder of any family."""

from __future__ import annotations

from typing import Any

import torch

from lycoris.bases.shapes import Images, ImageSizes, Latents
from lycoris.errors import InputError

MAX_BATCH_PIXELS = 2**19
"""Pixels that the autoencoder takes at a time: two images of 512x512."""


class LatentCodec:
    """An autoencoder of diffusers, in any precision.

    Attributes:
        scale_factor: pixels per latent cell along each side.
        channels: channels of a latent.

    Args:
        vae: an `AutoencoderKL`.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._scale, self._shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
        self.scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.channels = vae.config.latent_channels

    @torch.no_grad()
    def encode(self, images: Images, generator: torch.Generator | None = None) -> Latents:
        """Encode images in [0, 1] as scaled latents: the posterior's mean, or a sample if a generator is given."""
        pixels = images.to(self._vae.device, self._vae.dtype) * 2 - 1
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        latents = []
        for batch in pixels.split(_images_per_batch(*images.shape[-2:])):
            posterior = self._vae.encode(batch).latent_dist
            latents.append(posterior.mode() if generator is None else posterior.sample(generator))
        scaled = (torch.cat(latents).float() - self._shift) * self._scale
        if not torch.isfinite(scaled).all():
            dtype = str(self._vae.dtype).removeprefix("torch.")
            raise InputError(
                f"The VAE of the base encodes an image as NaN or infinity in {dtype}: "
                "open the base in another `dtype`, or pass another `vae`."
            )
        return scaled

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Decode scaled latents to images in [0, 1]."""
        unscaled = (latents / self._scale + self._shift).to(self._vae.device, self._vae.dtype)
        rows, columns = latents.shape[-2:]
        count = _images_per_batch(rows * self.scale_factor, columns * self.scale_factor)
        pixels = torch.cat([self._vae.decode(batch, return_dict=False)[0] for batch in unscaled.split(count)])
        return (pixels.float() / 2 + 0.5).clamp(0, 1)


def native_resolution(denoiser: Any, vae: Any, source: str) -> int:
    """Side of the square images that a denoiser was trained on, in pixels.

    Raises:
        InputError: the denoiser's input channels are not the autoencoder's.
    """
    if denoiser.config.in_channels != vae.config.latent_channels:
        raise InputError(
            f"The denoiser of base `{source}` must take the VAE's {vae.config.latent_channels} channels, "
            f"but takes {denoiser.config.in_channels}; inpainting and depth models are not supported."
        )
    size = denoiser.config.sample_size
    return (size if isinstance(size, int) else max(size)) * 2 ** (len(vae.config.block_out_channels) - 1)


def set_resolution(denoiser: Any, scale_factor: int, resolution: int) -> None:
    """Let a denoiser's configuration say that it was trained on square images of a size.

    Args:
        scale_factor: pixels per latent cell along each side.
        resolution: side of the images, in pixels.

    Raises:
        InputError: the images have no whole number of latent cells that the denoiser can halve.
    """
    blocks = getattr(denoiser.config, "block_out_channels", None)
    multiple = scale_factor * (2 ** (len(blocks) - 1) if blocks else denoiser.config.patch_size)
    if resolution < multiple or resolution % multiple:
        raise InputError(f"Argument `resolution` must be a multiple of {multiple} for this base, but got {resolution}.")
    denoiser.register_to_config(sample_size=resolution // scale_factor)


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
