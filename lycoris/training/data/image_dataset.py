"""Training pictures as latents, computed once and kept by what they depend on, or as they come up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lycoris.cache.store import code_version, file_digest
from lycoris.data.images import BadPicture, read_image
from lycoris.errors import InputError
from lycoris.training.config import MaskSource, OnBadPicture
from lycoris.training.data.buckets import buckets
from lycoris.training.data.cropping import fit
from lycoris.training.data.header_scan import Scan
from lycoris.training.data.latent_cache import Kept, content_key
from lycoris.training.data.loss_masks import Masks

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases import Base

AT_ONCE, PIXELS_AT_ONCE = 16, 2**20
"""A GPU is given so many pictures, and about so many pixels, together; a CPU one, so that no result hangs on which."""
CODE = ("data/images.py", "bases", "training/data/image_dataset.py", "training/data/cropping.py")


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and the words it goes with.

    Attributes:
        image: its file.
        caption: tags between commas, or a sentence.
        repeats: how often an epoch shows it.
        prior: whether it is of the class at large, to keep what the base knows of it, and not of the concept.
    """

    image: Path
    caption: str
    repeats: int = 1
    prior: bool = False

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError(f"Argument `repeats` of `{self.image}` must be at least 1, but got {self.repeats}.")


class Pictures:
    """Latents of the training pictures, each in the bucket nearest to its shape.

    Args:
        base: encodes them and sets resolution and factor.
        paths: of the pictures.
        flip: keep the mirrored pictures' latents too.
        cache: a folder for latents, shared by all runs; without one they are held in memory.
        cached: whether latents are kept at all, else a picture is read and encoded whenever it is asked for.
        mask: where the loss's weights come from: ``"file"`` is ``name.mask.png`` beside a picture, ``"alpha"``
            its own transparency; a picture that has none counts whole.
        on_bad_picture: ``"set_aside"`` goes on without a bad picture, ``"stop"`` raises its error.

    Attributes:
        kept: positions in `paths` of the pictures that are used; rows below count these.
        set_aside: path to what is wrong with it, of the others.
        sizes: each row's bucket, as (width, height) in pixels.
        upscaled: how many pictures are smaller than their bucket.

    Raises:
        InputError: a file is absent, no picture can be used, or none has a mask that should.
        BadPicture: a picture is bad, and this is to stop.
    """

    def __init__(
        self,
        base: Base,
        paths: Sequence[Path],
        *,
        flip: bool = False,
        cache: Path | None = None,
        cached: bool = True,
        mask: MaskSource | None = None,
        on_bad_picture: OnBadPicture = "set_aside",
    ) -> None:
        self._base, self._ways, self._latents = base, (False, True) if flip else (False,), Kept(cache)
        self._cached, self._paths = cached, paths
        self._masks = None if mask is None else Masks(mask, base.factor, self._latents)
        self._scan = Scan(paths, buckets(base.resolution, base.factor), on_bad_picture)
        self._files: list[str] = []
        self._mask_keys: list[str | None] = []
        bad = self._encode(paths, stop=on_bad_picture == "stop")
        for row in reversed(bad):
            self._scan.drop(row, paths[self._scan.kept[row]], bad[row])
            del self._files[row], self._mask_keys[row]
        self.kept, self.set_aside = self._scan.kept, self._scan.bad
        if not self.kept:
            reason = next(iter(self.set_aside.values()), "There are none.")
            raise InputError(f"None of the {len(paths)} pictures can be used. {reason}")
        if mask is not None and not any(self._mask_keys):
            raise InputError(f"Setting `mask` is `{mask}`, but none of the {len(self.kept)} pictures has a mask.")
        self.sizes = [self._scan.framing(row).target for row in range(len(self.kept))]
        self.upscaled = sum(self._scan.framing(row).scale > 1 for row in range(len(self.kept)))

    @property
    def counts(self) -> dict[str, int]:
        """Pictures in each bucket, by its size written as "64x48"."""
        return {f"{width}x{height}": count for (width, height), count in sorted(Counter(self.sizes).items())}

    def stack(self, rows: Sequence[int], flipped: Sequence[bool]) -> Float[Tensor, "batch channels rows columns"]:
        """Latents of some pictures, all of one size, on the base's device."""
        if not self._cached:
            return self._encoded([self._read(row) for row in rows], flipped)
        keys = [self._key(row, mirror) for row, mirror in zip(rows, flipped, strict=True)]
        return torch.stack([self._latents.read(key)["latent"] for key in keys]).to(self._base.device)

    def masks(self, rows: Sequence[int], flipped: Sequence[bool]) -> Float[Tensor, "batch rows columns"] | None:
        """Weights of the loss in [0, 1] from place to place; None when no masks are wanted."""
        if self._masks is None:
            return None
        keys = [self._mask_keys[row] for row in rows]
        return self._masks.stack(keys, self._scan.framing(rows[0]), flipped).to(self._base.device)

    def frames(self, rows: Sequence[int]) -> Float[Tensor, "batch 6"]:
        """What became of the pictures' sizes; see `Framing.condition`."""
        frames = [self._scan.framing(row).condition for row in rows]
        return torch.tensor(frames, dtype=torch.float32, device=self._base.device)

    def _encode(self, paths: Sequence[Path], *, stop: bool) -> dict[int, str]:
        """Keep the latents, and the masks, of every picture of the scan; returns what is wrong with some, by row."""
        bad: dict[int, str] = {}
        waiting: dict[tuple[int, int], list[tuple[int, Image.Image]]] = {}
        for row, position in enumerate(self._scan.kept):
            path, framing = paths[position], self._scan.framing(row)
            self._files.append(file_digest(path))
            self._mask_keys.append(None)
            try:
                if self._masks is not None:
                    self._mask_keys[row] = self._masks.keep(path, framing)
                if self._cached and all(self._key(row, mirror) in self._latents for mirror in self._ways):
                    continue
                image = self._read(row)
            except BadPicture as error:
                if stop:
                    raise
                bad[row] = str(error)
                continue
            if not self._cached:
                continue
            group = waiting.setdefault(framing.target, [])
            group.append((row, image))
            if len(group) == self._at_once(framing.target):
                self._write(waiting.pop(framing.target))
        for group in waiting.values():
            self._write(group)
        return bad

    def _at_once(self, size: tuple[int, int]) -> int:
        if self._base.device.type == "cpu":
            return 1
        return max(1, min(AT_ONCE, PIXELS_AT_ONCE // (size[0] * size[1])))

    def _write(self, group: list[tuple[int, Image.Image]]) -> None:
        for mirror in self._ways:
            latents = self._encoded([image for _, image in group], [mirror] * len(group))
            for (row, _), latent in zip(group, latents, strict=True):
                self._latents.write(self._key(row, mirror), {"latent": latent})

    def _read(self, row: int) -> Image.Image:
        """A picture of the scan as it fits its bucket.

        Raises:
            BadPicture: it cannot be read, or its header told another size.
        """
        path, framing = self._paths[self._scan.kept[row]], self._scan.framing(row)
        image = read_image(path)
        if image.size != framing.original:
            raise BadPicture(f"Picture `{path}` is of another size than its header says.")
        return fit(image, framing.target)

    def _encoded(
        self, images: Sequence[Image.Image], mirrored: Sequence[bool]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Latents of pictures of one size, on the base's device; no result depends on which were encoded together."""
        most = self._at_once(images[0].size)
        pixels = torch.stack(
            [each.flip(-1) if mirror else each for each, mirror in zip(map(_pixels, images), mirrored, strict=True)]
        )
        return torch.cat([self._base.encode_images(part) for part in pixels.split(most)])

    def _key(self, row: int, mirror: bool) -> str:
        size = self._scan.framing(row).target
        base = self._base.digest, self._base.dtype, code_version(*CODE)
        return content_key("latent", *base, size, mirror, self._files[row])


def _pixels(image: Image.Image) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
