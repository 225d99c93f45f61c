"""Human preference for an image and its prompt, from networks that are a CLIP: PickScore and HPSv2."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from lycoris.encoders import TransformersEncoder
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.weighted import as_float64, l2_normalize

RESIZE_MODE = "crop"
"""Both networks were trained on the centre of images whose short side has their size."""


class ClipPreference:
    """The cosine of an image and its prompt in a CLIP that was trained on human choices.

    The prompt is the one that text similarity uses, with the description in place of the trigger.

    Args:
        metric: ``pick_score`` or ``hps``.
        encoder: the network.
        is_scaled: whether the cosine is multiplied by the CLIP's logit scale, as PickScore is.

    Source: Kirstain et al., arXiv 2305.01569 (PickScore); Wu et al., arXiv 2306.09341 (HPSv2).
    """

    def __init__(self, metric: str, encoder: TransformersEncoder, *, is_scaled: bool) -> None:
        self.metric, self.encoder = metric, encoder
        self.name, self.digest = encoder.name, encoder.digest
        self.scale = float(encoder.model.logit_scale.exp()) if is_scaled else 1.0

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images one"]:
        """Return one value per image."""
        images = l2_normalize(as_float64(self.encoder.image_features(inputs.images, RESIZE_MODE)))
        texts = l2_normalize(as_float64(self.encoder.text_features([prompt.evaluation for prompt in inputs.prompts])))
        return self.scale * (images * texts).sum(1, keepdims=True)
