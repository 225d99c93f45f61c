"""Zero-shot tagging with a user's vocabulary by a text-image model (CLIP, SigLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lycoris.captions.taggers.labels import read_vocabulary

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

TEXT_TEMPLATE = "a picture of a {}"
NEUTRAL_CONFIDENCE = 0.5
"""The confidence of a tag that fits no better than the neutral text."""
NEUTRAL_TEXT = "a picture"
"""The text that a tag's text must beat if the model only compares texts."""


class ZeroShotNetwork:
    r"""A CLIP or SigLIP as the network of a tagger: how well does "a picture of a <tag>" fit the image?

    SigLIP is trained to rate each text independently: $\sigma(s\cos + b)$. CLIP only compares texts, so each tag is
    compared with "a picture": $\sigma(s(\cos_\mathrm{tag} - \cos_\mathrm{neutral}))$; 1/2 means no preference.
    Exclusive categories give the best tag only.

    Args:
        folder: a text-image model, as `lycoris.encoders.open_encoder` takes it.
        vocabulary: the tags, as `labels.read_vocabulary` takes them.
        device: torch device.
        batch_size: images per batch.

    Raises:
        InputError: the model or the vocabulary cannot be read.

    Source: Radford et al., arXiv 2103.00020, section 3.1; Zhai et al., arXiv 2303.15343.
    """

    def __init__(
        self, folder: Path, vocabulary: Path, device: str | torch.device = "cpu", batch_size: int = 32
    ) -> None:
        from torch.nn.functional import normalize

        from lycoris.encoders import TransformersEncoder

        self.batch_size = batch_size
        self.labels = read_vocabulary(vocabulary)
        self.encoder = TransformersEncoder(folder.name, folder, device)
        self.scale = float(self.encoder.model.logit_scale.exp())
        bias = getattr(self.encoder.model, "logit_bias", None)
        self.bias = None if bias is None else float(bias)
        texts = [*(TEXT_TEMPLATE.format(label.tag) for label in self.labels), NEUTRAL_TEXT]
        self._text_features = normalize(self.encoder.text_features(texts), dim=1)

    def confidences(self, images: Sequence[Image.Image]) -> Float[Tensor, "images tags"]:
        """Rate every label for each image."""
        from torch.nn.functional import normalize

        features = normalize(self.encoder.image_features(images, batch_size=self.batch_size), dim=1)
        cosines = features @ self._text_features.T
        if self.bias is not None:
            return (self.scale * cosines[:, :-1] + self.bias).sigmoid()
        return (self.scale * (cosines[:, :-1] - cosines[:, -1:])).sigmoid()
