"""Multi-label image classifiers of the transformers library as taggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lycoris.captions.taggers.labels import read_labels
from lycoris.captions.taggers.thresholding import resolve_thresholds, select_tags, tag_categories
from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor


class ClassifierTagger:
    """A multi-label image classifier in the transformers layout: one sigmoid per tag.

    Args:
        name: short name in the names of scores.
        folder: ``config.json``, weights, ``preprocessor_config.json``, and ``selected_tags.csv`` or ``id2label``.
        digest: SHA-256 of everything the tags depend on.
        device: torch device.
        thresholds: category -> minimum confidence in (0, 1), in place of `thresholding.DEFAULT_THRESHOLDS`.
        batch_size: images per batch.

    Raises:
        InputError: a file is missing or does not match the others, or no label has the category of a threshold.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        digest: str,
        device: str | torch.device = "cpu",
        thresholds: Mapping[str, float] | None = None,
        batch_size: int = 32,
    ) -> None:
        import torch

        from lycoris.encoders import read_preprocessing

        self.name = name
        self.folder = folder
        self.digest = digest
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.labels = read_labels(folder)
        self.thresholds = resolve_thresholds(self.labels, thresholds)
        self.categories = tag_categories(self.labels, self.thresholds)
        self.preprocessing = read_preprocessing(folder)
        self.model = _load_classifier(folder, len(self.labels)).to(self.device)

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Tag each image, with confidences in [0, 1], highest first, in the order of `images`."""
        if not images:
            return []
        from lycoris.encoders.batch_encoding import encode_batches

        logits = encode_batches(
            self._logits, images, self.preprocessing, mode="resize", batch_size=self.batch_size, device=self.device
        )
        return [select_tags(row, self.labels, self.thresholds) for row in logits.sigmoid().tolist()]

    def _logits(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tags"]:
        return self.model(pixel_values=pixels).logits


def _load_classifier(folder: Path, label_count: int) -> Any:
    from transformers import AutoModelForImageClassification

    from lycoris.pretrained import load_pretrained

    model = load_pretrained(AutoModelForImageClassification, folder, "tagger")
    if model.config.num_labels != label_count:
        raise InputError(
            f"Tagger folder `{folder}` must name one tag per output, but names {label_count} tags for "
            f"{model.config.num_labels} outputs."
        )
    if model.config.problem_type == "single_label_classification":
        raise InputError(f"Tagger folder `{folder}` must hold a multi-label classifier, but its labels are exclusive.")
    return model
