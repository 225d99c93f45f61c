"""Images from files: upright, in sRGB, without transparency, or an error that names the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris.data.folders import walk_folders
from lycoris.data.image_colors import has_alpha_channel, to_alpha, to_rgb
from lycoris.data.image_opening import IMAGE_SUFFIXES, MIN_SIDE, InvalidImageError, open_image
from lycoris.errors import InputError

__all__ = [
    "IMAGE_SOURCES", "IMAGE_SUFFIXES", "MIN_SIDE", "ImageFiles", "InvalidImageError", "conditioned_image", "find_mask",
    "has_alpha", "list_images", "read_alpha", "read_image", "read_size",
]  # fmt: skip
IMAGE_SOURCES = ("data/images.py", "data/image_opening.py", "data/image_colors.py")
"""The files that decide what an image looks like, for `lycoris.cache.keys.source_hash`."""
_MASK_SUFFIXES = (".mask", "-masklabel")
"""What follows an image's stem in the name of its mask; the second is OneTrainer's."""
_CONDITIONING_SUFFIX = "-condlabel"
"""The same for OneTrainer's conditioning images, which nothing here reads."""
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of an EXIF orientation upright; from 5 on it swaps width and height."""
_METADATA_PREFIXES = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the image files of a folder by suffix, sorted by path, without hidden files, masks and conditioning images.

    Args:
        folder: the folder.
        recursive: whether to include the folders below; see `lycoris.data.folders` on links.

    Raises:
        InputError: a mask, see `find_mask`, has no image ``name`` beside it, or a folder cannot be read.
    """
    files = sorted(
        path
        for below in (walk_folders(folder) if recursive else (folder,))
        for path in below.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    stems = {path.with_suffix("") for path in files}
    files = [path for path in files if conditioned_image(path) not in stems]
    images = [path for path in files if not path.stem.endswith(_MASK_SUFFIXES)]
    if len(images) < len(files):
        owners = {path.with_suffix("") for path in images}
        for mask in files:
            suffix = next((suffix for suffix in _MASK_SUFFIXES if mask.stem.endswith(suffix)), "")
            owner = mask.with_name(mask.stem.removesuffix(suffix))
            if suffix and (mask.suffix != ".png" or owner not in owners):
                raise InputError(f"Mask `{mask}` must be a PNG file, `name.mask.png` beside an image `name`.")
    return images


def conditioned_image(path: Path) -> Path | None:
    """Return the image, without its suffix, that ``name-condlabel.png`` belongs to; None for other names."""
    stem = path.stem.removesuffix(_CONDITIONING_SUFFIX)
    return None if stem == path.stem else path.with_name(stem)


def find_mask(path: Path) -> Path | None:
    """Find the mask beside an image, ``name.mask.png`` or ``name-masklabel.png``, if there is one."""
    masks = (path.with_name(f"{path.stem}{suffix}.png") for suffix in _MASK_SUFFIXES)
    return next((mask for mask in masks if mask.is_file()), None)


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
    image = _upright(*_decode(Path(path)))
    image.info = {"file": str(path)}
    return image


def _decode(path: Path) -> tuple[Image.Image, int]:
    """An image in RGB and its orientation; what Pillow decoded is released."""
    with open_image(path) as opened:
        opened.load()
        return to_rgb(opened, path), _orientation(opened)


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
    with open_image(Path(path)) as opened:
        opened.load()
        alpha = to_alpha(opened)
        return None if alpha is None else _upright(alpha, _orientation(opened))


def has_alpha(path: Path) -> bool:
    """Whether an image has an alpha channel that is not opaque throughout; most opaque ones show it in their headers.

    Raises:
        InputError: as for `read_image`.
    """
    with open_image(Path(path)) as opened:
        may_have = has_alpha_channel(opened)
    alpha = read_alpha(path) if may_have else None
    return alpha is not None and alpha.getextrema()[0] != 255


def read_size(path: Path) -> tuple[int, int]:
    """Read width and height of an image as people see it, in pixels, from the file's header alone.

    Raises:
        InputError: as for `read_image`, as far as a header shows it.
    """
    with open_image(Path(path)) as opened:
        if opened.format == "PNG" and _has_trailing_metadata(Path(path)):
            opened.load()
        width, height = opened.size
        return (height, width) if _orientation(opened) > 4 else (width, height)


def _orientation(opened: Image.Image) -> int:
    """The EXIF orientation that is still to be applied; 1 is upright."""
    if opened.format == "TIFF" or (opened.format == "JXL" and not getattr(opened, "jpeg", False)):
        return 1  # the decoder has applied it
    orientation = Image.Image.getexif(opened).get(_ORIENTATION_TAG)  # the method of PNG images would decode it
    return orientation if isinstance(orientation, int) else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


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
