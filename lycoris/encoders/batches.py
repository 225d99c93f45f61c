"""Pictures through a network in batches, one batch in memory at a time, each picture in its own shape."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lycoris.encoders.preprocessing import Preprocessing
from lycoris.errors import InputError

WORKERS = 8
"""Threads, at most, that open and resize the next batch while the network sees this one."""


@torch.inference_mode()
def encode_batches(
    network: Callable[[Tensor], Float[Tensor, "batch dim"]],
    images: Sequence[Image.Image],
    preprocessing: Preprocessing,
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
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:

        def ahead(start: int) -> list[Future[Tensor]]:
            stop = min(start + batch_size, len(images))
            return [pool.submit(_prepared, images, index, preprocessing, mode) for index in range(start, stop)]

        coming = ahead(0)
        for start in range(0, len(images), batch_size):
            inputs = [future.result() for future in coming]
            coming = ahead(start + batch_size)
            features.append(_in_own_shapes(network, inputs, device))
    result = torch.cat(features)
    if not torch.isfinite(result).all():
        bad = int((~torch.isfinite(result).all(dim=1)).nonzero()[0])
        raise InputError(f"Features must be finite, but those of image {bad} are not: check the encoder's weights.")
    return result


def _prepared(images: Sequence[Image.Image], index: int, preprocessing: Preprocessing, mode: str) -> Tensor:
    return preprocessing(images[index], mode)


def _in_own_shapes(
    network: Callable[[Tensor], Tensor], inputs: Sequence[Tensor], device: torch.device
) -> Float[Tensor, "images dim"]:
    """One batch of features; inputs of unlike shape go through the network apart."""
    rows: dict[int, Tensor] = {}
    for shape in dict.fromkeys(tensor.shape for tensor in inputs):
        members = [index for index, tensor in enumerate(inputs) if tensor.shape == shape]
        pixels = torch.stack([inputs[index] for index in members]).to(device)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            rows |= dict(zip(members, network(pixels).float().cpu(), strict=True))
    return torch.stack([rows[index] for index in range(len(inputs))])
