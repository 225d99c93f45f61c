"""Colors of images: any mode that Pillow decodes becomes opaque sRGB, strip by strip to save memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from lycoris.data.image_opening import InvalidImageError

STRIP_PIXELS = 1_000_000
MAX_OVERSHOOT = 0.25
"""How far floats may lie outside of 0 to 1, where sharpening leaves some; they are clipped."""
_GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_DIRECT_MODES = {
    "1": "L", "P": "RGB", "PA": "RGBA", "RGBa": "RGBA", "La": "LA", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB"
}  # fmt: skip
_BITS_PER_SAMPLE, _WHITE_12_BITS, _WHITE_16_BITS = 258, 4095, 65535

Transform = Callable[[Image.Image], Image.Image]


def to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Convert a loaded image to RGB: color profile applied, 16 bits and floats scaled to 8, transparency over white.

    Args:
        image: of any mode.
        path: named in errors.

    Raises:
        InvalidImageError: integers exceed 16 bits, or floats are not in [0, 1].
    """
    white = _white(image)
    _check_range(image, white, path)
    to_srgb = _profile_transform(image)
    result = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        result.paste(_strip_to_rgb(_to_direct(strip, white), to_srgb), (0, top))
    return result


def has_alpha_channel(image: Image.Image) -> bool:
    """Whether an image, loaded or not, has an alpha channel or a transparent color."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def to_alpha(image: Image.Image) -> Image.Image | None:
    """The alpha channel of a loaded image as mode ``"L"``; None if it has none."""
    if not has_alpha_channel(image):
        return None
    result = Image.new("L", image.size)
    for top, strip in _strips(image):
        result.paste(_to_direct(strip, _white(image)).convert("RGBA").getchannel("A"), (0, top))
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of an image over its whole width, each with its top row."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _to_direct(strip: Image.Image, white: float) -> Image.Image:
    """Convert to 8 bits per channel, without a palette or a transparent color: L, LA, RGB, RGBA or CMYK."""
    if strip.mode in _GREY_MODES:
        values = np.asarray(strip).astype(np.float32) * (255 / white)
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if "transparency" in strip.info:
        return strip.convert("RGBA")
    return strip.convert(_DIRECT_MODES.get(strip.mode, strip.mode))


def _strip_to_rgb(direct: Image.Image, to_srgb: Transform) -> Image.Image:
    if direct.mode not in ("RGBA", "LA"):
        return to_srgb(direct).convert("RGB")
    colors = to_srgb(direct.convert(direct.mode[:-1])).convert("RGBA")
    colors.putalpha(direct.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", direct.size, "white"), colors).convert("RGB")


def _white(image: Image.Image) -> float:
    """The number that stands for white in an image of one channel."""
    if image.mode == "F":
        return 1.0
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
    return _WHITE_12_BITS if bits == (12,) else _WHITE_16_BITS


def _check_range(image: Image.Image, white: float, path: Path) -> None:
    if image.mode not in ("I", "F"):
        return
    overshoot = MAX_OVERSHOOT if image.mode == "F" else 0
    for _, strip in _strips(image):
        low, high = float(np.asarray(strip).min()), float(np.asarray(strip).max())
        if not (-overshoot <= low and high <= white + overshoot):  # also where one is NaN
            raise InvalidImageError(
                f"Image `{path}` must have values from 0 to {white:g}, but has some from {low:g} to {high:g}."
            )


def _profile_transform(image: Image.Image) -> Transform:
    """The conversion by the embedded color profile; none if there is no profile, or it does not fit the image."""
    profile = image.info.get("icc_profile")
    mode = "RGB" if "transparency" in image.info else _DIRECT_MODES.get(image.mode, image.mode)
    mode = {"RGBA": "RGB", "LA": "L"}.get(mode, mode)
    if not profile or mode not in ("RGB", "CMYK", "L") or image.mode == "LAB":
        return lambda strip: strip
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return lambda strip: strip
    return lambda strip: ImageCms.applyTransform(strip, transform) or strip
