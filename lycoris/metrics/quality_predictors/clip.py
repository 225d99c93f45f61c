"""Marks from a text-image encoder's features: CLIP-IQA and LAION's aesthetic predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from lycoris.encoders import Encoder
from lycoris.encoders.model_sources import model_digest
from lycoris.errors import InputError
from lycoris.metrics.weighted import as_float64, l2_normalize

POSITIVE_PROMPT, NEGATIVE_PROMPT = "Good photo.", "Bad photo."
LOGIT_SCALE = 100.0
"""What cosines are multiplied by before the softmax, as at the end of CLIP's training."""


class ClipIQA:
    """The softmax of a picture's cosines with "Good photo." and "Bad photo.", its first part.

    Args:
        encoder: a text-image encoder; its image features are taken from those that were seen already.

    Raises:
        InputError: the encoder reads no text.

    Source: Wang et al., arXiv 2207.12396; here with position embeddings, at the encoder's own size.
    """

    metric = "clip_iqa"

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.digest = encoder.digest
        self.texts = l2_normalize(as_float64(encoder.text_features([POSITIVE_PROMPT, NEGATIVE_PROMPT])))

    def predict(
        self, images: Sequence[Image.Image], features_by_encoder: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "images one"]:
        """One mark in [0, 1] a picture."""
        cosines = l2_normalize(as_float64(_encoder_features(self, features_by_encoder))) @ self.texts.T
        return 1 / (1 + np.exp(-LOGIT_SCALE * (cosines[:, :1] - cosines[:, 1:])))


class AestheticsPredictor:
    """LAION's aesthetic predictor: linear layers on the normalised features of OpenAI's CLIP ViT-L/14.

    Args:
        file: its weights: one linear layer (``sa_0_4_vit_l_14_linear.pth``) or several without anything between them
            (``sac+logos+ava1-l14-linearMSE.pth``).
        name: of the encoder whose features it was made for. Another encoder of the same width gives numbers too,
            but they mean nothing.

    Raises:
        InputError: the file holds no such layers.

    Source: Schuhmann et al., arXiv 2210.08402, section 3 and appendix; Schuhmann, improved-aesthetic-predictor.
    """

    metric = "aesthetics"

    def __init__(self, file: str | Path, name: str) -> None:
        self.name = name
        self.digest = model_digest(Path(file))
        self.weight, self.bias = _collapse_layers(Path(file))

    def predict(
        self, images: Sequence[Image.Image], features_by_encoder: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "images one"]:
        """One mark, mostly in [1, 10], a picture.

        Raises:
            InputError: the encoder saw nothing, or its features are of another width.
        """
        features = l2_normalize(as_float64(_encoder_features(self, features_by_encoder)))
        if features.shape[1] != len(self.weight):
            raise InputError(
                f"The aesthetic predictor wants features of width {len(self.weight)}, but those of `{self.name}` have "
                f"{features.shape[1]}."
            )
        return (features @ self.weight + self.bias)[:, None]


def _encoder_features(
    predictor: ClipIQA | AestheticsPredictor, features_by_encoder: Mapping[str, np.ndarray]
) -> np.ndarray:
    if predictor.name not in features_by_encoder:
        raise InputError(
            f"Rater `{predictor.metric}` needs encoder `{predictor.name}`, but in use are: {', '.join(features_by_encoder)}."  # noqa: E501
        )
    return features_by_encoder[predictor.name]


def _collapse_layers(file: Path) -> tuple[Float[np.ndarray, " dim"], float]:
    """A stack of linear layers as the one that it is."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"Weight file `{file}` could not be read: {error}") from error
    prefixes = sorted(
        (key.removesuffix("weight") for key in state if key.endswith("weight")),
        key=lambda prefix: [int(part) for part in prefix.split(".") if part.isdigit()],
    )
    matrix: np.ndarray | None = None
    offset = np.zeros(0)
    for prefix in prefixes:
        weight, bias = (state[prefix + part].double().numpy() for part in ("weight", "bias"))
        if weight.ndim != 2 or (matrix is not None and weight.shape[1] != len(matrix)):
            raise InputError(f"Weight file `{file}` must hold linear layers in a row, but `{prefix}weight` fits none.")
        offset = bias if matrix is None else weight @ offset + bias
        matrix = weight if matrix is None else weight @ matrix
    if matrix is None or len(matrix) != 1:
        raise InputError(f"Weight file `{file}` must hold linear layers down to one number, but does not.")
    return matrix[0], float(offset[0])
