"""Encoding of images in batches: one batch in memory at a time, each image in its own shape."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lycoris.errors import InputError

MAX_THREADS = 8
"""Threads that open and resize the next batch while the network encodes this one."""


@runtime_checkable
class BatchPreprocessing(Protocol):
    """The preparation of a network's input in two steps: resizing image by image, normalization batch by batch."""

    def pixels(self, image: Image.Image, mode: str = "resize") -> UInt8[np.ndarray, "height width 3"]:
        """Resize an image for the network."""

    def normalize(self, pixels: UInt8[Tensor, "batch height width 3"], mode: str = "resize") -> Tensor:
        """Convert pixels to the network's float32 input, on the same device."""


class NonFiniteFeaturesError(InputError):
    """A feature is NaN or infinite.

    Attributes:
        index: index of the image.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"Features must be finite, but those of image {index} are not: check the encoder's weights.")
        self.index = index


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
    """Encode every image, float32 on the CPU, in the given order.

    ``images`` is read by index, one batch ahead and from several threads, so it may open its images on access. Images
    of different shapes (rectangles) run through the network separately. Batch size and device change a feature by
    rounding only; for that, convolutions on a GPU keep full float32.

    Args:
        network: the network's forward function.
        images: images of any size.
        preprocessing: the network's preprocessing.
        mode: one of `lycoris.terms.RESIZE_MODES`.
        batch_size: images per batch.
        device: torch device of the network.

    Raises:
        InputError: there are no images, the batch size is below 1, or a feature is not finite.
    """
    if len(images) == 0:
        raise InputError("Argument `images` must hold at least one image, but got none.")
    if batch_size < 1:
        raise InputError(f"Argument `batch_size` must be at least 1, but got {batch_size}.")
    features: list[Tensor] = []
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:

        def submit(start: int) -> list[Future[list[np.ndarray]]]:
            indices = range(start, min(start + batch_size, len(images)))
            size = max(1, -(-len(indices) // threads))
            parts = [indices[first : first + size] for first in range(0, len(indices), size)]
            return [pool.submit(_resize_images, images, part, preprocessing, mode) for part in parts]

        upcoming = submit(0)
        for start in range(0, len(images), batch_size):
            pixels = [own for future in upcoming for own in future.result()]
            upcoming = submit(start + batch_size)
            features.append(_encode_by_shape(network, pixels, preprocessing, mode, device))
    result = torch.cat(features) if len(features) > 1 else features[0]
    if not torch.isfinite(result.sum()) and not torch.isfinite(result).all():
        raise NonFiniteFeaturesError(int((~torch.isfinite(result).all(dim=1)).nonzero()[0]))
    return result


def _resize_images(
    images: Sequence[Image.Image], indices: Sequence[int], preprocessing: BatchPreprocessing, mode: str
) -> list[np.ndarray]:
    return [preprocessing.pixels(images[index], mode) for index in indices]


def _encode_by_shape(
    network: Callable[[Tensor], Tensor],
    pixels: Sequence[np.ndarray],
    preprocessing: BatchPreprocessing,
    mode: str,
    device: torch.device,
) -> Float[Tensor, "images dim"]:
    """Encode one batch; inputs of different shapes run through the network separately."""
    indices: list[int] = []
    rows: list[Tensor] = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for members, inputs in _inputs_by_shape(pixels, preprocessing, mode, device):
            indices += members
            rows.append(network(inputs).float().cpu())
    if len(rows) == 1 and indices == list(range(len(pixels))):
        return rows[0]
    return torch.cat(rows)[torch.tensor(indices).argsort()]


def _inputs_by_shape(
    pixels: Sequence[np.ndarray], preprocessing: BatchPreprocessing, mode: str, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield one input tensor per shape, with the indices of its images."""
    groups: dict[torch.Size, list[tuple[list[int], Tensor]]] = {}
    for shape in dict.fromkeys(own.shape for own in pixels):
        members = [index for index, own in enumerate(pixels) if own.shape == shape]
        stacked = torch.from_numpy(np.stack([pixels[index] for index in members])).to(device)
        inputs = preprocessing.normalize(stacked, mode)
        groups.setdefault(inputs.shape[1:], []).append((members, inputs))
    for parts in groups.values():
        members = [index for indices, _ in parts for index in indices]
        yield members, torch.cat([inputs for _, inputs in parts]) if len(parts) > 1 else parts[0][1]
