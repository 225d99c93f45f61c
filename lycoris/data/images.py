"""Pictures from files: upright, in sRGB, without transparency, or an error that names the file."""

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
MIN_SIDE = 8  # pixels a side
MAX_PIXELS = 100_000_000  # pixels in all, 300 MB in memory; more is taken for a decompression bomb
_MASK_SUFFIX = ".mask"
_ORIENTATION_TAG, _ROTATED_ORIENTATIONS = (
    0x0112,
    (5, 6, 7, 8),
)  # the EXIF tag, and those of its values that swap width and height
_METADATA_PREFIXES = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


class InvalidImageError(InputError):
    """A file that is there but is no picture that can be used; the others beside it may well be."""


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The picture files of a folder, by suffix, sorted by path; hidden ones and masks are left out.

    Args:
        folder: where to look.
        recursive: also in the folders below.

    Raises:
        InputError: a mask, ``name.mask.png``, has no picture ``name`` beside it.
    """
    paths = folder.rglob("*") if recursive else folder.iterdir()
    found = sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    pictures = [path for path in found if not path.stem.endswith(_MASK_SUFFIX)]
    if len(pictures) < len(found):
        owners = {path.with_suffix("") for path in pictures}
        for mask in found:
            owner = mask.with_name(mask.stem.removesuffix(_MASK_SUFFIX))
            if mask.stem.endswith(_MASK_SUFFIX) and (mask.suffix != ".png" or owner not in owners):
                raise InputError(f"Mask `{mask}` must be a PNG file, `name.mask.png` beside a picture `name`.")
    return pictures


def find_mask(path: Path) -> Path | None:
    """The mask beside a picture, ``name.mask.png``, if there is one."""
    mask = path.with_name(f"{path.stem}{_MASK_SUFFIX}.png")
    return mask if mask.is_file() else None


def read_image(path: Path) -> Image.Image:
    """One picture as people see it: EXIF orientation applied, colours in sRGB, transparency over white.

    Args:
        path: a file in a format of `SUFFIXES`; of an animation the first frame.

    Returns:
        A loaded picture of mode ``"RGB"``, with its path as ``info["file"]`` and nothing else in ``info``.

    Raises:
        InputError: the file is absent or cannot be opened.
        BadPicture: it is no picture, truncated, smaller than 8 pixels a side, or larger than 100 million pixels.
    """
    with _open_checked(Path(path)) as opened:
        opened.load()
        image = _to_rgb(_to_srgb(_without_palette(ImageOps.exif_transpose(opened))))
        image.info = {"file": str(path)}
        return image


class ImageFiles(Sequence[Image.Image]):
    """Picture files that are opened when asked for, by `read_image`, and not kept.

    Args:
        paths: of the files.
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
    """How opaque a picture is from place to place, upright, as mode ``"L"``; None where it is opaque throughout.

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
    """Width and height of a picture as people see it, in pixels, from the file's header alone.

    Raises:
        InputError: as for `read_image`, as far as a header can tell.
    """
    with _open_checked(Path(path)) as opened:
        width, height = opened.size
        return (height, width) if _is_rotated(opened, Path(path)) else (width, height)


@contextmanager
def _open_checked(path: Path) -> Iterator[Image.Image]:
    """A file whose header was read and found good; whatever fails meanwhile becomes an error that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise InvalidImageError(
                        f"Picture `{path}` has {width} x {height} pixels; more than {MAX_PIXELS:,} in all are refused."
                    )
                if min(width, height) < MIN_SIDE:
                    raise InvalidImageError(
                        f"Picture `{path}` must be at least {MIN_SIDE} pixels a side, but is {width} x {height}."
                    )
                yield opened
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no picture `{path}`.") from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(f"File `{path}` is not a picture that can be read, whatever its name says.") from error
    except Image.DecompressionBombError as error:
        raise InvalidImageError(
            f"Picture `{path}` is refused: more than {MAX_PIXELS:,} pixels in all. ({error})"
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"Picture `{path}` cannot be opened: {error.strerror}.") from error
    except Exception as error:  # a decoder given hostile bytes fails in every way there is
        raise InvalidImageError(f"Picture `{path}` cannot be read to its end; is it truncated? ({error})") from error


def _is_rotated(opened: Image.Image, path: Path) -> bool:
    """Whether a picture lies on its side; of TIFF files Pillow gives the upright size itself."""
    if opened.format == "TIFF":
        return False
    if opened.format == "PNG" and _has_trailing_metadata(path):
        opened.load()
    return (
        Image.Image.getexif(opened).get(_ORIENTATION_TAG, 1) in _ROTATED_ORIENTATIONS
    )  # a PNG's own method would decode it


def _has_trailing_metadata(path: Path) -> bool:
    """Whether a PNG file says how it was held only after its pixels."""
    with open(path, "rb", buffering=0) as file:
        file.seek(8)
        behind = False
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            behind = behind or kind == b"IDAT"
            if behind and kind == b"eXIf":
                return True
            if behind and kind in (b"iTXt", b"zTXt", b"tEXt"):
                name = file.read(min(length, 24))
                if name.startswith(_METADATA_PREFIXES):
                    return True
                length -= len(name)
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _without_palette(image: Image.Image) -> Image.Image:
    """A picture of the same colours without a palette."""
    if image.mode not in ("P", "PA"):
        return image
    direct = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    direct.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return direct


def _to_srgb(image: Image.Image) -> Image.Image:
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


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB; 16-bit greys scaled to 8 bits, transparency laid over white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
        image.info.pop("transparency", None)
    if image.mode in ("RGBA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
