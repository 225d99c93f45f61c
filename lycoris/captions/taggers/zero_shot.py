"""Tags of a vocabulary of one's own, by a text-image model that was never taught them (CLIP, SigLIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lycoris.captions.taggers.labels import read_vocabulary
from lycoris.captions.taggers.thresholding import resolve_thresholds, select_tags, tag_categories

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

TEXT_TEMPLATE = "a picture of a {}"
NEUTRAL_CONFIDENCE = 0.5
"""The confidence of a tag that says as much as nothing."""
NEUTRAL_TEXT = "a picture"
"""What a tag's sentence must beat where the model tells only which of several texts fits best."""


class ZeroShotTagger:
    r"""A CLIP or SigLIP as a tagger: how well does "a picture of a <tag>" fit?

    SigLIP was trained to say for each text alone whether it fits, $\sigma(s\cos + b)$. CLIP tells texts apart, so that
    each tag is held against "a picture": $\sigma(s(\cos_\mathrm{tag} - \cos_\mathrm{neutral}))$; 1/2 means that
    the tag says as much as nothing. Categories of which a picture has one at most take the best.

    Args:
        name: what stands for the tagger in names of scores.
        folder: of a text-image model, as `lycoris.encoders.open_encoder` takes it.
        digest: the sha256 over all that its tags depend on.
        vocabulary: the tags, as `lycoris.captions.taggers.labels.read_vocabulary` takes them.
        device: where it runs.
        thresholds: category -> least confidence in (0, 1); by default the one of `choosing.THRESHOLDS` or 0.5,
            whichever is higher.
        batch_size: pictures at a time.

    Raises:
        InputError: the model or the vocabulary cannot be read, or a threshold has no such category.

    Source: Radford et al., arXiv 2103.00020, section 3.1; Zhai et al., arXiv 2303.15343.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        digest: str,
        vocabulary: Path,
        device: str | torch.device = "cpu",
        thresholds: Mapping[str, float] | None = None,
        batch_size: int = 32,
    ) -> None:
        from torch.nn.functional import normalize

        from lycoris.encoders import TransformersEncoder

        self.name = name
        self.digest = digest
        self.batch_size = batch_size
        self.labels = read_vocabulary(vocabulary)
        self.thresholds = {
            category: value if category in (thresholds or {}) else max(value, NEUTRAL_CONFIDENCE)
            for category, value in resolve_thresholds(self.labels, thresholds).items()
        }
        self.categories = tag_categories(self.labels, self.thresholds)
        self.encoder = TransformersEncoder(name, folder, device)
        self.scale = float(self.encoder.model.logit_scale.exp())
        bias = getattr(self.encoder.model, "logit_bias", None)
        self.bias = None if bias is None else float(bias)
        texts = [*(TEXT_TEMPLATE.format(label.tag) for label in self.labels), NEUTRAL_TEXT]
        self._text_features = normalize(self.encoder.text_features(texts), dim=1)

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """For each picture its tags with confidence in [0, 1], best first, in the order of `images`."""
        if not images:
            return []
        return [select_tags(row, self.labels, self.thresholds) for row in self._confidences(images).tolist()]

    def _confidences(self, images: Sequence[Image.Image]) -> Float[Tensor, "images tags"]:
        from torch.nn.functional import normalize

        features = normalize(self.encoder.image_features(images, batch_size=self.batch_size), dim=1)
        cosines = features @ self._text_features.T
        if self.bias is not None:
            return (self.scale * cosines[:, :-1] + self.bias).sigmoid()
        return (self.scale * (cosines[:, :-1] - cosines[:, -1:])).sigmoid()
