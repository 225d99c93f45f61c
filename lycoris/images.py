"""Pictures from files: upright, in sRGB, without transparency, or an error that names the file."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lycoris.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SMALLEST = 8  # pixels a side
LARGEST = 100_000_000  # pixels in all, 300 MB in memory; more is taken for a decompression bomb


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The picture files of a folder, by suffix, sorted by path; hidden ones are left out.

    Args:
        folder: where to look.
        recursive: also in the folders below.
    """
    paths = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_image(path: Path) -> Image.Image:
    """One picture as people see it: EXIF orientation applied, colours in sRGB, transparency over white.

    Args:
        path: a file in a format of `SUFFIXES`; of an animation the first frame.

    Returns:
        A loaded picture of mode ``"RGB"``, with its path as ``info["file"]`` and nothing else in ``info``.

    Raises:
        InputError: the file is absent, no picture, truncated, smaller than 8 pixels a side, or larger than
            100 million pixels.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                width, height = opened.size
                if width * height > LARGEST:
                    raise InputError(
                        f"Picture `{path}` has {width} x {height} pixels; more than {LARGEST:,} in all are refused."
                    )
                if min(width, height) < SMALLEST:
                    raise InputError(
                        f"Picture `{path}` must be at least {SMALLEST} pixels a side, but is {width} x {height}."
                    )
                opened.load()
                image = _flat(_srgb(_direct(ImageOps.exif_transpose(opened))))
                image.info = {"file": str(path)}
                return image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no picture `{path}`.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"File `{path}` is not a picture that can be read, whatever its name says.") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"Picture `{path}` is refused: more than {LARGEST:,} pixels in all. ({error})") from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"Picture `{path}` cannot be opened: {error.strerror}.") from error
    except Exception as error:  # a decoder given hostile bytes fails in every way there is
        raise InputError(f"Picture `{path}` cannot be read to its end; is it truncated? ({error})") from error


def _direct(image: Image.Image) -> Image.Image:
    """A picture of the same colours without a palette."""
    if image.mode not in ("P", "PA"):
        return image
    direct = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    direct.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return direct


def _srgb(image: Image.Image) -> Image.Image:
    """The picture with its embedded colour profile applied; as it is when the profile cannot be used."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        plain = image.convert("RGB") if image.mode == "RGBA" else image
        converted = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image
    if converted is None:
        return image
    converted.info.pop("icc_profile", None)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _flat(image: Image.Image) -> Image.Image:
    """RGB; 16-bit greys scaled to 8 bits, transparency laid over white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
        image.info.pop("transparency", None)
    if image.mode in ("RGBA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
