"""The segmentation networks of the transformers library, each with its own way from an image to probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from lycoris.errors import InputError
from lycoris.pretrained import load_pretrained, silence_transformers

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ROLE = "segmenter"


class ClipSegNetwork:
    """CLIPSeg: the pixels that a text describes (Lüddecke and Ecker 2022, arXiv 2112.10003).

    Args:
        folder: ``config.json``, weights, and the files of the processor and the tokenizer.
        device: torch device.

    Raises:
        InputError: a file is missing or does not match the others.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

        self.device = device
        self.processor = _load(CLIPSegProcessor, folder)
        self.model = load_pretrained(CLIPSegForImageSegmentation, folder, ROLE).to(device)

    def probabilities(self, image: Image.Image, prompt: str | None) -> Float[Tensor, "height width"]:
        """The probability of each pixel of an RGB image that it shows what the prompt names."""
        inputs = self.processor(text=[prompt], images=[image], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(**inputs.to(self.device)).logits
        return _resize(logits.reshape(1, 1, *logits.shape[-2:]), image)


class SamNetwork:
    """SAM: the object at the centre of an image, in the mask that the network rates best (Kirillov et al. 2023).

    Args:
        folder: ``config.json``, weights and ``preprocessor_config.json``.
        device: torch device.

    Raises:
        InputError: a file is missing or does not match the others.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import SamModel, SamProcessor

        self.device = device
        self.processor = _load(SamProcessor, folder)
        self.model = load_pretrained(SamModel, folder, ROLE).to(device)

    def probabilities(self, image: Image.Image, prompt: str | None) -> Float[Tensor, "height width"]:
        """The probability of each pixel of an RGB image that it belongs to the object; there is no prompt."""
        centre = [[[image.width / 2, image.height / 2]]]
        inputs = self.processor(images=[image], input_points=centre, return_tensors="pt")
        sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        points = inputs["input_points"].to(self.device, torch.float32)
        with torch.inference_mode():
            outputs = self.model(pixel_values=inputs["pixel_values"].to(self.device), input_points=points)
        (masks,) = self.processor.image_processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)
        return masks[0, int(outputs.iou_scores[0, 0].argmax())].sigmoid()


class Sam3Network:
    """SAM 3: every object in an image that a text names (Carion et al. 2025).

    Its image processor needs torchvision; what it does is one resize to a square and one normalization.

    Args:
        folder: ``config.json``, weights, and the files of the tokenizer.
        device: torch device.

    Raises:
        InputError: a file is missing or does not match the others.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoTokenizer, Sam3Model

        self.device = device
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise InputError(
                f"Segmenter folder `{folder}` must hold its processor and tokenizer, but has no `tokenizer.json`."
            )
        self.tokenizer = _load(AutoTokenizer, folder)
        self.model = load_pretrained(Sam3Model, folder, ROLE).to(device)

    def probabilities(self, image: Image.Image, prompt: str | None) -> Float[Tensor, "height width"]:
        """The probability of each pixel of an RGB image that it belongs to one of the objects."""
        side, length = self.model.config.image_size, self.model.config.text_config.max_position_embeddings
        square = image.resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 127.5 - 1
        text = self.tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model(
                pixel_values=pixels.to(self.device),
                input_ids=text["input_ids"].to(self.device),
                attention_mask=text["attention_mask"].to(self.device),
            )
        presence = outputs.presence_logits.sigmoid().reshape(-1, 1)
        confident = (outputs.pred_logits.sigmoid() * presence)[0] > OBJECT_CONFIDENCE
        if not confident.any():
            return torch.zeros(image.height, image.width)
        return _resize(outputs.pred_masks[:, confident].amax(1, keepdim=True), image)


OBJECT_CONFIDENCE = 0.3
"""Confidence above which SAM 3 has found an object; the default of its own post-processing."""


def _resize(logits: Float[Tensor, "1 1 rows columns"], image: Image.Image) -> Float[Tensor, "height width"]:
    """Probabilities of an image's pixels from the logits of a coarser grid."""
    return interpolate(logits, (image.height, image.width), mode="bilinear", align_corners=False)[0, 0].sigmoid()


def _load(processor_class: Any, folder: Path) -> Any:
    try:
        with silence_transformers():
            return processor_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"Segmenter folder `{folder}` must hold its processor and tokenizer: {reason}") from error
