"""What the package ``pyiqa`` gives: LIQE and MANIQA for single pictures, and LPIPS between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lycoris.errors import InputError, unknown

MARKS = ("liqe", "maniqa")


class Marks:
    """LIQE or MANIQA by the package ``pyiqa``.

    Args:
        metric: ``liqe`` or ``maniqa``.
        device: where it runs.

    Raises:
        InputError: the metric is unknown, or ``pyiqa`` is not installed.
    """

    name = "pyiqa"

    def __init__(self, metric: str, device: str | torch.device = "cpu") -> None:
        if metric not in MARKS:
            raise unknown("rater", metric, MARKS)
        self.metric = metric
        self.device = torch.device(device)
        self.network, self.digest = _from_pyiqa(metric, self.device)

    @torch.inference_mode()
    def rows(self, images: Sequence[Image.Image], seen: Mapping[str, np.ndarray]) -> Float[np.ndarray, "images one"]:
        """One mark a picture, each at its own size."""
        marks = [self.network(_pixels(image).to(self.device)).reshape(1, 1).double().cpu() for image in images]
        return torch.cat(marks).numpy()


class Lpips:
    """LPIPS by the package ``pyiqa``, as points whose squared distances it is.

    LPIPS is a squared distance of weighted, normalised feature maps, so such points exist; classical scaling finds
    them from all pairs, which must be of one size. Pairs cost n²/2 passes.

    Args:
        device: where it runs.
        network: pairs of pictures [1, 3, height, width] in [0, 1] to LPIPS; that of ``pyiqa`` by default.

    Raises:
        InputError: ``pyiqa`` is not installed and no network is given.

    Source: Zhang et al., arXiv 1801.03924; Torgerson, Psychometrika 17, 1952 (classical scaling).
    """

    metric = "lpips"
    name = "pyiqa"

    def __init__(
        self, device: str | torch.device = "cpu", network: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        self.device = torch.device(device)
        self.network: Callable[[Tensor, Tensor], Tensor]
        self.network, self.digest = (network, "given") if network else _from_pyiqa("lpips", self.device)

    @torch.inference_mode()
    def rows(self, images: Sequence[Image.Image], seen: Mapping[str, np.ndarray]) -> Float[np.ndarray, "images images"]:
        """A point for each picture.

        Raises:
            InputError: the pictures are of unlike size.
        """
        if len({image.size for image in images}) > 1:
            raise InputError("LPIPS compares pictures of one size, but the drawings are of unlike sizes.")
        pixels = [_pixels(image).to(self.device) for image in images]
        distances = np.zeros((len(images), len(images)))
        for row in range(len(images)):
            for column in range(row):
                distances[row, column] = distances[column, row] = float(self.network(pixels[row], pixels[column]))
        return points(distances)


def points(squared: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Points with these squared distances, as far as they are distances at all."""
    centred = squared - squared.mean(0)
    values, vectors = np.linalg.eigh(-(centred - centred.mean(1, keepdims=True)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))


def _from_pyiqa(metric: str, device: torch.device) -> tuple[Any, str]:
    try:
        import pyiqa  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError(
            f"Rater `{metric}` needs the package pyiqa, which is not installed and whose licence is not free for "
            "every use: `pip install pyiqa`."
        ) from error
    return pyiqa.create_metric(metric, device=device), f"pyiqa {pyiqa.__version__}"


def _pixels(image: Image.Image) -> Float[Tensor, "1 3 height width"]:
    array = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1)[None]
