"""What a picture's style is to a VGG: Gram matrices, or one vector whose squared distance is a style loss."""

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
from lycoris.errors import InputError

TORCHVISION_PREPROCESSING = Preprocessing(size=224)
"""What torchvision's VGG-19 was trained on, for a weight file that comes without a preprocessing."""


@runtime_checkable
class StyleEncoder(Protocol):
    """Pictures to vectors whose squared Euclidean distance is a style loss."""

    @property
    def name(self) -> str:
        """What stands for the encoder in the name of a score; holds no slash."""

    @property
    def digest(self) -> str:
        """The sha256 over weights and preprocessing."""

    def style_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 16
    ) -> Float[Tensor, "images dim"]:
        """One vector a picture, float32, in the order given."""


class VGGStyleEncoder:
    """Gram matrices of a VGG at the first convolution of each block (conv1_1 ... conv5_1), in float32.

    Args:
        name: what stands for the encoder in the name of a score.
        path: a folder with one weight file and ``preprocessor_config.json``, or torchvision's weight file
            alone.
        device: where it runs.
    """

    def __init__(self, name: str, path: Path, device: str | torch.device = "cpu") -> None:
        self.name = name
        self.path = path
        self.device = torch.device(device)
        self.network = (
            VGG.from_state_dict(_read_weights(find_weight_file(path))).eval().requires_grad_(False).to(self.device)
        )
        step = 2 ** (len(self.network.channels) - 1)
        if path.is_dir():
            self.preprocessing = read_preprocessing(path, keep_aspect_ratio=True, size_multiple=step)
        else:
            self.preprocessing = Preprocessing(
                TORCHVISION_PREPROCESSING.size, keep_aspect_ratio=True, size_multiple=step
            )

    @cached_property
    def digest(self) -> str:
        """The sha256 over weights and preprocessing."""
        return model_digest(self.path)

    def style_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 16
    ) -> Float[Tensor, "images dim"]:
        """One vector a picture: the squared Euclidean distance of two is the sum of squared Gram differences.

        A Gram matrix is symmetric, so only its upper triangle is kept, off-diagonal entries times sqrt(2).
        """
        return encode_batches(
            self._forward, images, self.preprocessing, mode=mode, batch_size=batch_size, device=self.device
        )

    def gram_matrices(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 16
    ) -> list[Float[Tensor, "images channels channels"]]:
        """The Gram matrices of every picture, one tensor a block; see `lycoris.encoders.vgg.gram` for the scaling."""
        features = self.style_features(images, mode, batch_size)
        grams: list[Tensor] = []
        start = 0
        for channels in self.network.channels:
            row, column = torch.triu_indices(channels, channels)
            entries = features[:, start : start + len(row)] / _triangle_weights(row, column)
            start += len(row)
            full = torch.zeros(len(features), channels, channels)
            full[:, row, column] = entries
            full[:, column, row] = entries
            grams.append(full)
        return grams

    def _forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        parts: list[Tensor] = []
        for maps in self.network(pixels):
            row, column = torch.triu_indices(maps.shape[1], maps.shape[1], device=maps.device)
            parts.append(gram_matrix(maps)[:, row, column] * _triangle_weights(row, column))
        return torch.cat(parts, dim=1)


def open_style_encoder(source: str | Path = "vgg", device: str | torch.device = "cpu") -> VGGStyleEncoder:
    """A style encoder by short name, folder, weight file or hub name.

    Args:
        source: ``vgg`` for the embedded one; a folder with one weight file and ``preprocessor_config.json``;
            torchvision's ``vgg19-*.pth`` itself (then 224 px, ImageNet's mean and deviation).
        device: where it runs; ``auto`` takes a GPU where there is one.

    Raises:
        InputError: there is no such encoder, or its weights are not those of a VGG.
    """
    name, path = resolve_source(source)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return VGGStyleEncoder(name, path, device)


def _triangle_weights(row: Tensor, column: Tensor) -> Tensor:
    return torch.where(row == column, 1.0, 2.0**0.5)


def _read_weights(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"Weight file `{file}` could not be read: {error}") from error
