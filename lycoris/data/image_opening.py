"""The one place where image files are opened: a known format within the memory limit, or an error that names it."""

from __future__ import annotations

import importlib
import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from lycoris.data.jpeg_header import decodes_whole
from lycoris.data.jxl_header import is_jxl, read_jxl_size
from lycoris.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
    | {".heic", ".heif", ".hif", ".jxl"}
)
MIN_SIDE = 8  # pixels per side
MAX_MEMORY = 1_000_000_000
"""Bytes that `read_image` may take for one image; a JPEG file that would take more is decoded reduced."""
BYTES_PER_PIXEL = {
    "PNG": 10, "BMP": 10, "GIF": 10, "JPEG": 13, "MPO": 13, "TIFF": 13, "AVIF": 16, "WEBP": 20, "HEIF": 20, "JXL": 25,
}  # fmt: skip
"""Peak memory of `read_image` by format; `tests/data/test_image_memory.py` measures it."""
MAX_TEXT_BYTES = 32 * 2**20
"""Bytes of all texts of a PNG file, such as the workflow that generated it, and of its color profile."""
_COEFFICIENT_BYTES = 2
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF tags
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
_PLUGINS = {"HEIF": ("pillow_heif", "pillow-heif"), "JXL": ("pillow_jxl", "pillow-jxl-plugin")}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


class InvalidImageError(InputError):
    """A file that exists but is not a usable image; other files may still be."""


@contextmanager
def open_image(source: Path | bytes) -> Iterator[Image.Image]:
    """Open an image without decoding it; any failure inside the block becomes an error that names the file.

    Args:
        source: a file, or the content of one.

    Yields:
        The image, in one of the formats of `BYTES_PER_PIXEL`, which its content decides and not its name.

    Raises:
        InputError: the file is absent, not a regular file, or cannot be opened.
        InvalidImageError: it is not an image of these formats, has under 8 pixels per side, needs more memory than
            `MAX_MEMORY`, or cannot be decoded inside the block.
    """
    label = "in memory" if isinstance(source, bytes) else f"`{source}`"
    try:
        with warnings.catch_warnings(), _open_bytes(source, label) as file:
            warnings.simplefilter("ignore")
            formats = [*_PILLOW_FORMATS, *_required_plugins(file, label)]
            PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
            with Image.open(file, formats=formats) as opened:
                _reduce(opened, file)
                _check_size(label, opened.format or "", *opened.size)
                _check_tile(label, opened)
                yield opened
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no image {label}.") from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(
            f"File {label} is not a readable image, despite its name: none of {', '.join(BYTES_PER_PIXEL)}, or a kind "
            "of them that Pillow does not read, such as a TIFF of three floats per pixel."
        ) from error
    except Image.DecompressionBombError as error:
        raise InvalidImageError(
            f"Image {label} is refused: it would take more than {MAX_MEMORY:,} bytes. ({error})"
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"Image {label} cannot be opened: {error.strerror}.") from error
    except ValueError as error:
        if "TEXT" not in str(error):
            raise InvalidImageError(f"Image {label} cannot be read to its end; is it truncated? ({error})") from error
        raise InvalidImageError(
            f"Image {label} has more than {MAX_TEXT_BYTES // 2**20} MB of text beside its pixels, such as a workflow: "
            f"save it without. ({error})"
        ) from error
    except Exception as error:  # hostile bytes make a decoder fail in any way
        raise InvalidImageError(f"Image {label} cannot be read to its end; is it truncated? ({error})") from error


def _open_bytes(source: Path | bytes, label: str) -> io.BytesIO | io.BufferedReader:
    """The file of a source; a device or a pipe is refused, because reading it may never end."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    mode = source.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"Image {label} must be a regular file, but is a device, a pipe or a socket.")
    return source.open("rb")


def _required_plugins(file: io.BytesIO | io.BufferedReader, label: str) -> list[str]:
    """Register the plug-in that a file's format needs, and return the format; nothing for those of Pillow itself.

    Raises:
        InvalidImageError: the plug-in is not installed, or the image is too large.
    """
    head = file.read(12)
    file.seek(0)
    if is_jxl(file):
        _import_plugin("JXL", label)
        _check_size(label, "JXL", *read_jxl_size(file))
        return ["JXL"]
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _import_plugin("HEIF", label)
        return ["HEIF"]
    return []


def _import_plugin(name: str, label: str) -> None:
    module, package = _PLUGINS[name]
    try:
        plugin = importlib.import_module(module)  # the plug-in of JPEG XL registers itself
    except ImportError as error:
        raise InvalidImageError(
            f"Image {label} is {name}, which needs the package {package}: pip install 'lycoris-pipeline[formats]', or "
            "convert the image to PNG."
        ) from error
    if name == "HEIF":
        plugin.register_heif_opener()


def _check_size(label: str, name: str, width: int, height: int) -> None:
    limit = MAX_MEMORY // BYTES_PER_PIXEL[name]
    if width * height > limit:
        raise InvalidImageError(
            f"Image {label} has {width} x {height} pixels; more than {limit:,} in total are refused in a {name} file, "
            f"because reading them takes more than {MAX_MEMORY:,} bytes."
        )
    if min(width, height) < MIN_SIDE:
        raise InvalidImageError(
            f"Image {label} must be at least {MIN_SIDE} pixels per side, but is {width} x {height}."
        )


def _reduce(opened: Image.Image, file: io.BytesIO | io.BufferedReader) -> None:
    """Have a JPEG file that is too large decoded at a half, a quarter or an eighth of its sides, if that suffices."""
    if opened.format not in ("JPEG", "MPO"):
        return
    pixels, per_pixel = opened.width * opened.height, BYTES_PER_PIXEL["JPEG"]
    if pixels * per_pixel <= MAX_MEMORY:
        return
    whole = pixels * _COEFFICIENT_BYTES * len(opened.getbands()) if decodes_whole(file) else 0
    for divisor in (2, 4, 8):
        if whole + pixels * per_pixel // divisor**2 <= MAX_MEMORY:
            opened.draft(None, (max(opened.width // divisor, 1), max(opened.height // divisor, 1)))
            return


def _check_tile(label: str, opened: Image.Image) -> None:
    """Refuse a TIFF file whose tiles are larger than an image may be; a tile is decoded whole."""
    if opened.format == "TIFF":
        width, height = (opened.tag_v2.get(tag, 1) for tag in (_TILE_WIDTH, _TILE_LENGTH))  # type: ignore[attr-defined]
        if width * height > MAX_MEMORY // BYTES_PER_PIXEL["TIFF"]:
            raise InvalidImageError(f"Image {label} has tiles of {width} x {height} pixels, which are too large.")
