"""Quality predictions from the features of a text-image encoder: CLIP-IQA and LAION's aesthetic predictor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lycoris.encoders import Encoder
from lycoris.encoders.model_sources import model_digest
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.weighted import as_float64, l2_normalize
from lycoris.pretrained import read_weights

POSITIVE_PROMPT, NEGATIVE_PROMPT = "Good photo.", "Bad photo."
LOGIT_SCALE = 100.0
"""The factor of the cosines before the softmax, as at the end of CLIP's training."""


class ClipIQA:
    """CLIP-IQA: the probability of "Good photo." against "Bad photo." in a softmax of an image's cosines.

    Args:
        encoder: a text-image encoder; its image features are reused.

    Raises:
        InputError: the encoder does not read text.

    Source: Wang et al., arXiv 2207.12396; here with position embeddings, at the encoder's own size.
    """

    metric = "clip_iqa"

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.digest = encoder.digest
        self.texts = l2_normalize(as_float64(encoder.text_features([POSITIVE_PROMPT, NEGATIVE_PROMPT])))

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images one"]:
        """Return one value in [0, 1] per image."""
        cosines = l2_normalize(as_float64(_encoder_features(self, inputs.features))) @ self.texts.T
        return 1 / (1 + np.exp(-LOGIT_SCALE * (cosines[:, :1] - cosines[:, 1:])))


class QualityWeightedFeatures:
    """The features of an encoder, each as long as CLIP-IQA is high; for the quality-weighted Vendi score.

    Args:
        encoder: a text-image encoder; its image features are reused.

    Source: Nguyen and Dieng, arXiv 2405.02449.
    """

    metric = "quality_vendi"

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.digest = encoder.name, encoder.digest
        self.quality = ClipIQA(encoder)

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images dim"]:
        """Return one row per image, of a length in (0, 1)."""
        return l2_normalize(as_float64(_encoder_features(self, inputs.features))) * self.quality.predict(inputs)


class AestheticsPredictor:
    """LAION's aesthetic predictor: linear layers on the normalized features of OpenAI's CLIP ViT-L/14.

    Args:
        file: its weights: one linear layer (``sa_0_4_vit_l_14_linear.pth``), or several without activations between
            them (``sac+logos+ava1-l14-linearMSE.pth``).
        name: the encoder for which it was trained. Another encoder of the same width gives meaningless numbers.

    Raises:
        InputError: the file does not hold such layers.

    Source: Schuhmann et al., arXiv 2210.08402, section 3 and appendix; Schuhmann, improved-aesthetic-predictor.
    """

    metric = "aesthetics"

    def __init__(self, file: str | Path, name: str) -> None:
        self.name = name
        self.digest = model_digest(Path(file))
        self.weight, self.bias = _collapse_layers(Path(file))

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images one"]:
        """Return one value per image, mostly in [1, 10].

        Raises:
            InputError: there are no features of the encoder, or they differ in width.
        """
        features = l2_normalize(as_float64(_encoder_features(self, inputs.features)))
        if features.shape[1] != len(self.weight):
            raise InputError(
                f"The aesthetic predictor needs features of width {len(self.weight)}, but those of `{self.name}` have "
                f"{features.shape[1]}."
            )
        return (features @ self.weight + self.bias)[:, None]


def _encoder_features(
    predictor: ClipIQA | AestheticsPredictor | QualityWeightedFeatures, features_by_encoder: Mapping[str, np.ndarray]
) -> np.ndarray:
    if predictor.name not in features_by_encoder:
        raise InputError(
            f"Quality predictor `{predictor.metric}` needs encoder `{predictor.name}`, but in use are: "
            f"{', '.join(features_by_encoder)}."
        )
    return features_by_encoder[predictor.name]


def _collapse_layers(file: Path) -> tuple[Float[np.ndarray, " dim"], float]:
    """Multiply a stack of linear layers into one."""
    state = read_weights(file)
    prefixes = sorted(
        (key.removesuffix("weight") for key in state if key.endswith("weight")),
        key=lambda prefix: [int(part) for part in prefix.split(".") if part.isdigit()],
    )
    matrix: np.ndarray | None = None
    offset = np.zeros(0)
    for prefix in prefixes:
        weight, bias = (state[prefix + part].double().numpy() for part in ("weight", "bias"))
        if weight.ndim != 2 or (matrix is not None and weight.shape[1] != len(matrix)):
            raise InputError(
                f"Weight file `{file}` must hold consecutive linear layers, but `{prefix}weight` does not fit."
            )
        offset = bias if matrix is None else weight @ offset + bias
        matrix = weight if matrix is None else weight @ matrix
    if matrix is None or len(matrix) != 1:
        raise InputError(f"Weight file `{file}` must hold linear layers with a single output, but does not.")
    return matrix[0], float(offset[0])
