"""The style of an image to a VGG: Gram matrices, or one vector whose squared distance is a style loss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lycoris.encoders.batch_encoding import encode_batches
from lycoris.encoders.model_sources import find_weight_file, model_digest, resolve_source
from lycoris.encoders.preprocessing import Preprocessing, read_preprocessing
from lycoris.encoders.vgg import VGG, gram_matrix
from lycoris.pretrained import read_weights, resolve_device

TORCHVISION_PREPROCESSING = Preprocessing(size=224)
"""The preprocessing of torchvision's VGG-19, for a weight file without its own."""


@runtime_checkable
class StyleEncoder(Protocol):
    """A network that turns images into vectors whose squared Euclidean distance is a style loss."""

    @property
    def name(self) -> str:
        """Short name in the names of scores; holds no slash."""

    @property
    def digest(self) -> str:
        """SHA-256 of weights and preprocessing."""

    def style_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 16
    ) -> Float[Tensor, "images dim"]:
        """Encode the style of each image in one vector, float32, in the given order."""


class VGGStyleEncoder:
    """Gram matrices of a VGG at the first convolution of each block (conv1_1 ... conv5_1), in float32.

    Args:
        name: short name in the names of scores.
        path: a folder with one weight file and ``preprocessor_config.json``, or torchvision's weight file.
        device: torch device.
    """

    def __init__(self, name: str, path: Path, device: str | torch.device = "cpu") -> None:
        self.name = name
        self.path = path
        self.device = torch.device(device)
        network = VGG.from_state_dict(read_weights(find_weight_file(path)))
        self.network = network.eval().requires_grad_(False).to(self.device)
        stride = 2 ** (len(self.network.channels) - 1)
        if path.is_dir():
            self.preprocessing = read_preprocessing(path, keep_aspect_ratio=True, size_multiple=stride)
        else:
            self.preprocessing = Preprocessing(
                TORCHVISION_PREPROCESSING.size, keep_aspect_ratio=True, size_multiple=stride
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights and preprocessing."""
        return model_digest(self.path)

    def style_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 16
    ) -> Float[Tensor, "images dim"]:
        """Encode each image in one vector whose squared distance is the sum of squared differences of Gram matrices.

        A Gram matrix is symmetric, so the vector holds its upper triangle, off-diagonal entries times sqrt(2).
        """
        return encode_batches(
            self._forward, images, self.preprocessing, mode=mode, batch_size=batch_size, device=self.device
        )

    def _forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        parts: list[Tensor] = []
        for maps in self.network(pixels):
            row, column = torch.triu_indices(maps.shape[1], maps.shape[1], device=maps.device)
            parts.append(gram_matrix(maps)[:, row, column] * _triangle_weights(row, column))
        return torch.cat(parts, dim=1)


def open_style_encoder(source: str | Path = "vgg", device: str | torch.device = "cpu") -> VGGStyleEncoder:
    """Open a style encoder by short name, folder, weight file or hub name.

    Args:
        source: ``vgg`` for the embedded encoder; a folder with one weight file and ``preprocessor_config.json``;
            torchvision's ``vgg19-*.pth`` (then 224 px, with the mean and standard deviation of ImageNet).
        device: torch device; ``auto`` takes a GPU if there is one.

    Raises:
        InputError: the encoder does not exist, or its weights are not those of a VGG.
    """
    name, path = resolve_source(source)
    return VGGStyleEncoder(name, path, resolve_device(device))


def _triangle_weights(row: Tensor, column: Tensor) -> Tensor:
    return torch.where(row == column, 1.0, 2.0**0.5)
