"""Pictures through a network in batches, one batch in memory at a time, each picture in its own shape."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lycoris.errors import InputError

MAX_THREADS = 8
"""Threads, at most, that open and resize the next batch while the network sees this one."""


class BatchPreprocessing(Protocol):
    """From a picture to a network's input, in two steps: the first a picture at a time, the second a batch."""

    def pixels(self, image: Image.Image, mode: str = "resize") -> UInt8[np.ndarray, "height width 3"]:
        """The picture at the network's size."""

    def normalize(self, pixels: UInt8[Tensor, "batch height width 3"], mode: str = "resize") -> Tensor:
        """The network's input, float32, on the device of the pixels."""


class NonFiniteFeaturesError(InputError):
    """A feature that is no number.

    Attributes:
        image: the place of the picture.
    """

    def __init__(self, image: int) -> None:
        super().__init__(f"Features must be finite, but those of image {image} are not: check the encoder's weights.")
        self.index = image


@torch.inference_mode()
def encode_batches(
    network: Callable[[Tensor], Float[Tensor, "batch dim"]],
    images: Sequence[Image.Image],
    preprocessing: BatchPreprocessing,
    *,
    mode: str,
    batch_size: int,
    device: torch.device,
) -> Float[Tensor, "images dim"]:
    """The features of every picture, float32 on the CPU, in the order given.

    ``images`` is read by index, a batch ahead and from threads, so it may open its pictures only when asked.
    Pictures of unlike shape (rectangles) go through the network apart; batch size and device move a feature by
    rounding only, for which convolutions on a GPU are kept in full float32.

    Raises:
        InputError: there are no pictures, the batch size is below 1, or a feature is not finite.
    """
    if len(images) == 0:
        raise InputError("Argument `images` must hold at least one picture, but got none.")
    if batch_size < 1:
        raise InputError(f"Argument `batch_size` must be at least 1, but got {batch_size}.")
    features: list[Tensor] = []
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:

        def ahead(start: int) -> list[Future[list[np.ndarray]]]:
            places = range(start, min(start + batch_size, len(images)))
            each = max(1, -(-len(places) // workers))
            parts = [places[first : first + each] for first in range(0, len(places), each)]
            return [pool.submit(_resize_images, images, part, preprocessing, mode) for part in parts]

        coming = ahead(0)
        for start in range(0, len(images), batch_size):
            pixels = [each for future in coming for each in future.result()]
            coming = ahead(start + batch_size)
            features.append(_encode_by_shape(network, pixels, preprocessing, mode, device))
    result = torch.cat(features) if len(features) > 1 else features[0]
    if not torch.isfinite(result.sum()) and not torch.isfinite(result).all():
        raise NonFiniteFeaturesError(int((~torch.isfinite(result).all(dim=1)).nonzero()[0]))
    return result


def _resize_images(
    images: Sequence[Image.Image], indices: Sequence[int], preprocessing: BatchPreprocessing, mode: str
) -> list[np.ndarray]:
    return [preprocessing.pixels(images[place], mode) for place in indices]


def _encode_by_shape(
    network: Callable[[Tensor], Tensor],
    pixels: Sequence[np.ndarray],
    preprocessing: BatchPreprocessing,
    mode: str,
    device: torch.device,
) -> Float[Tensor, "images dim"]:
    """One batch of features; inputs of unlike shape go through the network apart."""
    places: list[int] = []
    rows: list[Tensor] = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for members, inputs in _inputs_by_shape(pixels, preprocessing, mode, device):
            places += members
            rows.append(network(inputs).float().cpu())
    if len(rows) == 1 and places == list(range(len(pixels))):
        return rows[0]
    return torch.cat(rows)[torch.tensor(places).argsort()]


def _inputs_by_shape(
    pixels: Sequence[np.ndarray], preprocessing: BatchPreprocessing, mode: str, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """The network's inputs, one tensor a shape, with the places of their pictures."""
    groups: dict[torch.Size, list[tuple[list[int], Tensor]]] = {}
    for shape in dict.fromkeys(each.shape for each in pixels):
        members = [place for place, each in enumerate(pixels) if each.shape == shape]
        stacked = torch.from_numpy(np.stack([pixels[place] for place in members])).to(device)
        inputs = preprocessing.normalize(stacked, mode)
        groups.setdefault(inputs.shape[1:], []).append((members, inputs))
    for parts in groups.values():
        members = [place for places, _ in parts for place in places]
        yield members, torch.cat([inputs for _, inputs in parts]) if len(parts) > 1 else parts[0][1]
