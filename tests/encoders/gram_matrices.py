"""The Gram matrices in the vectors of a style encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from lycoris.encoders.style import VGGStyleEncoder, _triangle_weights


def gram_matrices(encoder: VGGStyleEncoder, images: Sequence[Image.Image]) -> list[Tensor]:
    """The matrices of every image, one tensor [images, channels, channels] per block."""
    features = encoder.style_features(images)
    grams: list[Tensor] = []
    start = 0
    for channels in encoder.network.channels:
        row, column = torch.triu_indices(channels, channels)
        entries = features[:, start : start + len(row)] / _triangle_weights(row, column)
        start += len(row)
        full = torch.zeros(len(features), channels, channels)
        full[:, row, column] = entries
        full[:, column, row] = entries
        grams.append(full)
    return grams
