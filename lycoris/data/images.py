"""Images from files: upright, in sRGB, without transparency, or an error that names the file."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lycoris.errors import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MIN_SIDE = 8  # pixels per side
MAX_PIXELS = 100_000_000  # in total, 300 MB in memory; more counts as a decompression bomb
_MASK_SUFFIX = ".mask"
_ORIENTATION_TAG, _ROTATED_ORIENTATIONS = (
    0x0112,
    (5, 6, 7, 8),
)  # the EXIF tag, and those of its values that swap width and height
_METADATA_PREFIXES = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


class InvalidImageError(InputError):
    """A file that exists but is not a usable image; other files may still be."""


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the image files of a folder by suffix, sorted by path, without hidden files and masks.

    Args:
        folder: the folder.
        recursive: whether to include the folders below.

    Raises:
        InputError: a mask, ``name.mask.png``, has no image ``name`` beside it.
    """
    paths = folder.rglob("*") if recursive else folder.iterdir()
    files = sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    images = [path for path in files if not path.stem.endswith(_MASK_SUFFIX)]
    if len(images) < len(files):
        owners = {path.with_suffix("") for path in images}
        for mask in files:
            owner = mask.with_name(mask.stem.removesuffix(_MASK_SUFFIX))
            if mask.stem.endswith(_MASK_SUFFIX) and (mask.suffix != ".png" or owner not in owners):
                raise InputError(f"Mask `{mask}` must be a PNG file, `name.mask.png` beside an image `name`.")
    return images


def find_mask(path: Path) -> Path | None:
    """Find the mask beside an image, ``name.mask.png``, if there is one."""
    mask = path.with_name(f"{path.stem}{_MASK_SUFFIX}.png")
    return mask if mask.is_file() else None


def read_image(path: Path) -> Image.Image:
    """Read an image as people see it: EXIF orientation applied, colors in sRGB, transparency over white.

    Args:
        path: a file with a suffix of `IMAGE_SUFFIXES`; of an animation the first frame.

    Returns:
        A loaded image of mode ``"RGB"``, with its path as ``info["file"]`` and nothing else in ``info``.

    Raises:
        InputError: the file is absent or cannot be opened.
        InvalidImageError: it is not an image, truncated, smaller than 8 pixels per side, or larger than 100 million
            pixels.
    """
    with _open_checked(Path(path)) as opened:
        opened.load()
        image = _to_rgb(_to_srgb(_without_palette(ImageOps.exif_transpose(opened))))
        image.info = {"file": str(path)}
        return image


class ImageFiles(Sequence[Image.Image]):
    """Image files that `read_image` reads on access, without keeping them in memory.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [read_image(path) for path in self._paths[index]]
        return read_image(self._paths[index])


def read_alpha(path: Path) -> Image.Image | None:
    """Read the alpha channel of an image, upright, as mode ``"L"``; None if it is opaque throughout.

    Raises:
        InputError: as for `read_image`.
    """
    with _open_checked(Path(path)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode not in ("RGBA", "LA", "PA", "RGBa") and "transparency" not in image.info:
            return None
        return image.convert("RGBA").getchannel("A")


def read_size(path: Path) -> tuple[int, int]:
    """Read width and height of an image as people see it, in pixels, from the file's header alone.

    Raises:
        InputError: as for `read_image`, as far as a header shows it.
    """
    with _open_checked(Path(path)) as opened:
        width, height = opened.size
        return (height, width) if _is_rotated(opened, Path(path)) else (width, height)


@contextmanager
def _open_checked(path: Path) -> Iterator[Image.Image]:
    """Open a file and check its header; any failure inside the block becomes an error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise InvalidImageError(
                        f"Image `{path}` has {width} x {height} pixels; more than {MAX_PIXELS:,} in total are refused."
                    )
                if min(width, height) < MIN_SIDE:
                    raise InvalidImageError(
                        f"Image `{path}` must be at least {MIN_SIDE} pixels per side, but is {width} x {height}."
                    )
                yield opened
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no image `{path}`.") from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(f"File `{path}` is not a readable image, despite its name.") from error
    except Image.DecompressionBombError as error:
        raise InvalidImageError(
            f"Image `{path}` is refused: more than {MAX_PIXELS:,} pixels in total. ({error})"
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"Image `{path}` cannot be opened: {error.strerror}.") from error
    except Exception as error:  # hostile bytes make a decoder fail in any way
        raise InvalidImageError(f"Image `{path}` cannot be read to its end; is it truncated? ({error})") from error


def _is_rotated(opened: Image.Image, path: Path) -> bool:
    """Whether an image is stored rotated by 90 degrees; Pillow rotates TIFF files itself."""
    if opened.format == "TIFF":
        return False
    if opened.format == "PNG" and _has_trailing_metadata(path):
        opened.load()
    return (
        Image.Image.getexif(opened).get(_ORIENTATION_TAG, 1) in _ROTATED_ORIENTATIONS
    )  # the method of PNG images would decode it


def _has_trailing_metadata(path: Path) -> bool:
    """Whether a PNG file has orientation metadata after its pixels."""
    with open(path, "rb", buffering=0) as file:
        file.seek(8)
        is_after_pixels = False
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            is_after_pixels = is_after_pixels or kind == b"IDAT"
            if is_after_pixels and kind == b"eXIf":
                return True
            if is_after_pixels and kind in (b"iTXt", b"zTXt", b"tEXt"):
                name = file.read(min(length, 24))
                if name.startswith(_METADATA_PREFIXES):
                    return True
                length -= len(name)
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _without_palette(image: Image.Image) -> Image.Image:
    """Convert a palette image to direct colors."""
    if image.mode not in ("P", "PA"):
        return image
    direct = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    direct.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return direct


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply the embedded color profile; the image is unchanged if the profile is not usable."""
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


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB: 16-bit gray is scaled to 8 bits, transparency is composited over white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
        image.info.pop("transparency", None)
    if image.mode in ("RGBA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
