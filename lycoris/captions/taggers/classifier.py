"""Multi-label image classifiers of the transformers library as the networks of taggers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lycoris.captions.taggers.labels import read_labels
from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor


class ClassifierNetwork:
    """A multi-label image classifier in the transformers layout: one sigmoid per tag.

    Args:
        folder: ``config.json``, weights, ``preprocessor_config.json``, and ``selected_tags.csv`` or ``id2label``.
        device: torch device.
        batch_size: images per batch.

    Raises:
        InputError: a file is missing or does not match the others.
    """

    def __init__(self, folder: Path, device: str | torch.device = "cpu", batch_size: int = 32) -> None:
        import torch

        from lycoris.encoders import read_preprocessing

        self.device = torch.device(device)
        self.batch_size = batch_size
        self.labels = read_labels(folder)
        self.preprocessing = read_preprocessing(folder)
        self.model = _load_classifier(folder, len(self.labels)).to(self.device)

    def confidences(self, images: Sequence[Image.Image]) -> Float[Tensor, "images tags"]:
        """Rate every label for each image."""
        from lycoris.encoders.batch_encoding import encode_batches

        return encode_batches(
            self._logits, images, self.preprocessing, mode="resize", batch_size=self.batch_size, device=self.device
        ).sigmoid()

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
