"""Image preprocessing and augmentation for the classifiers of the pocket world."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

JUDGE_IMAGE_SIZE = 96
"""Side in pixels of the images that the judge classifies."""


def resize_images(images: Float[Tensor, "images 3 height width"], size: int) -> Float[Tensor, "images 3 size size"]:
    """Resize images in [-1, 1] to `size` pixels a side, bicubic as in the models' preprocessor configuration."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


def augment_images(
    images: Float[Tensor, "images 3 64 64"], generator: torch.Generator
) -> Float[Tensor, "images 3 64 64"]:
    """Degrade images the way a generative model might: shift, mirror, blur, add noise, change brightness.

    Args:
        images: a batch in [-1, 1]; flip, shift and blur are the same for all of it.
        generator: source of randomness.
    """

    def chance(probability: float) -> bool:
        return bool(torch.rand((), generator=generator) < probability)

    if chance(0.5):
        images = images.flip(3)
    dx, dy = torch.randint(-3, 4, (2,), generator=generator).tolist()
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    images = padded[:, :, 3 + dy : 67 + dy, 3 + dx : 67 + dx]
    if chance(0.4):
        size = int(torch.randint(28, 56, (), generator=generator))
        small = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        images = F.interpolate(small, size=64, mode="bilinear")
    shape = (len(images), 1, 1, 1)
    gain = 1 + 0.08 * torch.randn(shape, generator=generator)
    shift = 0.05 * torch.randn((len(images), 3, 1, 1), generator=generator)
    noise = 0.08 * torch.rand(shape, generator=generator) * torch.randn(images.shape, generator=generator)
    return (images * gain + shift + noise).contiguous(memory_format=torch.channels_last)
