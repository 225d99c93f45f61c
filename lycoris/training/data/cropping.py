"""Resizing and cropping: an image is scaled to cover its bucket's size, and the excess is cropped evenly."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class ResizeCrop:
    """A resize and center crop from one size to another, both as (width, height) in pixels."""

    original_size: tuple[int, int]
    target_size: tuple[int, int]

    @property
    def scale(self) -> float:
        """Target pixels per original pixel, along both sides."""
        return max(self.target_size[0] / self.original_size[0], self.target_size[1] / self.original_size[1])

    @property
    def lost_share(self) -> float:
        """Share of a side that is cropped away, in [0, 1): of the width or of the height, as only one is cropped."""
        return 1 - min(
            target / (original * self.scale)
            for target, original in zip(self.target_size, self.original_size, strict=True)
        )

    @property
    def size_conditioning(self) -> tuple[int, int, int, int, int, int]:
        """Original height and width, top and left of the crop in the resized image, target height and width.

        The size conditioning of Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image
        Synthesis", section 2.2.
        """
        (width, height), (target_width, target_height) = self.original_size, self.target_size
        top = round((height * self.scale - target_height) / 2)
        left = round((width * self.scale - target_width) / 2)
        return height, width, top, left, target_height, target_width


def resize_and_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale an image to cover a size, and crop the excess evenly on both sides.

    Args:
        image: an image of any size.
        size: (width, height) in pixels.

    Returns:
        An image of exactly that size.
    """
    if image.size == size:
        return image
    scale = ResizeCrop(image.size, size).scale
    width, height = size[0] / scale, size[1] / scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
