"""Text in images: how much of the text that a prompt quotes can be read in the image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from lycoris.encoders.model_sources import model_digest, resolve_source
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.pretrained import check_model_type, load_pretrained, silence_transformers

ROLE = "text reader"
MAX_NEW_TOKENS = 64
BATCH_SIZE = 16
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')


class TextReader:
    """TrOCR, or another image-to-text model of the transformers library that reads one line of text.

    The whole image is given to it, so it suits images that show little but the text.

    Args:
        source: a folder or a hub name, such as ``microsoft/trocr-base-printed``.
        device: torch device.

    Raises:
        InputError: the model is not of that kind, or a file is missing.

    Source: TrOCR, Li et al., arXiv 2109.10282; its use for generated text: Tuo et al., arXiv 2311.03054.
    """

    metric = "text_accuracy"

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        from transformers import VisionEncoderDecoderModel

        self.name, folder = resolve_source(source)
        check_model_type(folder, ("vision-encoder-decoder",), ROLE)
        self.digest, self.device = model_digest(folder), torch.device(device)
        self.processor = _load_processor(folder)
        self.model = load_pretrained(VisionEncoderDecoderModel, folder, ROLE).to(self.device)

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images two"]:
        """Return 1 less the normalized edit distance, and 1; 0 and 0 where the prompt quotes no text."""
        wanted = [quoted_text(prompt.text) for prompt in inputs.prompts]
        rows = [row for row, text in enumerate(wanted) if text]
        result = np.zeros((len(inputs.images), 2))
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            for row, text in zip(batch, self.read([inputs.images[row] for row in batch]), strict=True):
                result[row] = text_agreement(wanted[row], text), 1
        return result

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the text in each image."""
        pixels = self.processor(images=[image.convert("RGB") for image in images], return_tensors="pt").pixel_values
        with silence_transformers():
            ids = self.model.generate(
                pixels.to(self.device), max_new_tokens=MAX_NEW_TOKENS, num_beams=1, do_sample=False
            )
        return list(self.processor.batch_decode(ids, skip_special_tokens=True))


def _load_processor(folder: Path) -> Any:
    from transformers import TrOCRProcessor

    try:
        with silence_transformers():
            return TrOCRProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        message = f"{ROLE.capitalize()} folder `{folder}` must hold its processor and tokenizer: {error}"
        raise InputError(message) from error


def quoted_text(prompt: str) -> str:
    """The text in double quotes in a prompt, several parts joined by spaces; empty if there is none."""
    return " ".join(first or second for first, second in _QUOTED.findall(prompt))


def text_agreement(wanted: str, read: str) -> float:
    """1 less the edit distance over the length of the longer text; case and repeated spaces do not count."""
    first, second = (" ".join(text.lower().split()) for text in (wanted, read))
    longest = max(len(first), len(second))
    return 1 - edit_distance(first, second) / longest if longest else 1.0


def edit_distance(first: str, second: str) -> int:
    """The fewest insertions, deletions and replacements that turn one text into the other.

    Source: Wagner and Fischer, Journal of the ACM 21, 1974.
    """
    row = list(range(len(second) + 1))
    for index, letter in enumerate(first, start=1):
        before, row[0] = row[0], index
        for column, other in enumerate(second, start=1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != other))
    return row[-1]
