"""Training pictures as latents, computed once and kept by size."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.training.buckets import buckets, nearest_bucket

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base

AT_ONCE = 16


@dataclass(frozen=True)
class Example:
    """A picture and the words it goes with."""

    image: Path
    caption: str


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a picture until it covers a size, and cut what stands out evenly on both sides.

    Args:
        image: any size.
        size: (width, height) in pixels.

    Returns:
        A picture of exactly that size.
    """
    if image.size == size:
        return image
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))


def frame(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, ...]:
    """How `fit` brings a picture to a size, in the numbers that SDXL is conditioned on.

    Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis", section 2.2.

    Args:
        original: (width, height) of the picture, in pixels.
        size: (width, height) that it is brought to.

    Returns:
        Original (height, width); (top, left) of the cut in pixels of the scaled picture; target (height, width).
    """
    scale = max(size[0] / original[0], size[1] / original[1])
    left, top = (round((original[side] * scale - size[side]) / 2) for side in (0, 1))
    return (original[1], original[0], top, left, size[1], size[0])


class Pictures:
    """Latents of the training pictures, each in the bucket nearest to its shape.

    Args:
        base: encodes them and sets resolution and factor.
        paths: of the pictures; one that stands there twice is encoded once.
        flip: keep the mirrored pictures' latents too.
        cache: a folder in which latents are kept under the hash of picture, base, size and mirroring.

    Raises:
        InputError: a file is no readable picture; it is named.
    """

    def __init__(self, base: Base, paths: Sequence[Path], *, flip: bool = False, cache: Path | None = None) -> None:
        from lycoris.images import read_image

        self._base, self._cache = base, cache
        sizes = buckets(base.resolution, base.factor)
        distinct = list(dict.fromkeys(paths))
        waiting: dict[tuple[int, int], list[tuple[Path, Image.Image]]] = {}
        encoded: dict[Path, tuple[Tensor, ...]] = {}
        frames: dict[Path, tuple[int, ...]] = {}
        for path in distinct:
            image = read_image(path)
            size = nearest_bucket(*image.size, sizes)
            frames[path] = frame(image.size, size)
            group = waiting.setdefault(size, [])
            group.append((path, fit(image, size)))
            if len(group) == AT_ONCE:
                encoded |= self._encode(waiting.pop(size), flip)
        for group in waiting.values():
            encoded |= self._encode(group, flip)
        latents = [encoded[path] for path in paths]
        self.sizes = [
            (versions[0].shape[-1] * base.factor, versions[0].shape[-2] * base.factor) for versions in latents
        ]
        self._latents = latents
        self._frames = torch.tensor([frames[path] for path in paths], dtype=torch.float32)

    @property
    def counts(self) -> dict[str, int]:
        """Pictures in each bucket, by its size written as "64x48"."""
        return {f"{width}x{height}": count for (width, height), count in sorted(Counter(self.sizes).items())}

    def frames(self, rows: Sequence[int]) -> Float[Tensor, "batch 6"]:
        """Sizes and cut of some pictures, as `frame` gives them."""
        return self._frames[list(rows)]

    def stack(self, rows: Sequence[int], flipped: Sequence[bool]) -> Float[Tensor, "batch channels rows columns"]:
        """Latents of some pictures, all of one size."""
        return torch.stack([self._latents[row][int(mirror)] for row, mirror in zip(rows, flipped, strict=True)])

    def _encode(self, group: list[tuple[Path, Image.Image]], flip: bool) -> dict[Path, tuple[Tensor, ...]]:
        ways = [self._encode_one_way(group, mirror) for mirror in ((False, True) if flip else (False,))]
        paths = [path for path, _ in group]
        return dict(zip(paths, zip(*ways, strict=True), strict=True))

    def _encode_one_way(self, group: list[tuple[Path, Image.Image]], mirror: bool) -> list[Tensor]:
        if mirror:
            group = [(path, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for path, image in group]
        files = [self._cache_file(image) for _, image in group]
        found = [_read(file) for file in files]
        absent = [position for position, latent in enumerate(found) if latent is None]
        if absent:
            pixels = torch.stack([_pixels(group[position][1]) for position in absent])
            for position, latent in zip(absent, self._base.encode_images(pixels), strict=True):
                found[position] = latent
                _write(files[position], latent)
        return [latent.to(self._base.device) for latent in found if latent is not None]

    def _cache_file(self, image: Image.Image) -> Path | None:
        if self._cache is None:
            return None
        key = hashlib.sha256(f"{self._base.digest} {self._base.dtype} {image.size}".encode())
        key.update(image.tobytes())
        return self._cache / f"{key.hexdigest()}.safetensors"


def _pixels(image: Image.Image) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _read(file: Path | None) -> Tensor | None:
    from safetensors.torch import load_file

    return load_file(file)["latent"] if file is not None and file.is_file() else None


def _write(file: Path | None, latent: Tensor) -> None:
    from safetensors.torch import save_file

    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}.part")
    save_file({"latent": latent.cpu().contiguous()}, unfinished)
    os.replace(unfinished, file)
