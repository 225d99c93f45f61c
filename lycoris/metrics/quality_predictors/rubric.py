"""Grades from 0 to 4 by a judge model that reads a rubric: how well an image shows the subject or follows its text."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from lycoris.encoders.chat_models import chat_prompt, load_processor
from lycoris.encoders.model_sources import model_digest, resolve_source
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors.questions import CHAT_FAMILIES
from lycoris.pretrained import check_model_type, load_pretrained, silence_transformers

logger = logging.getLogger(__name__)

ROLE = "judge model"
MAX_NEW_TOKENS = 200
HIGHEST = 4
_SCALE = """\
0: nothing of it is right.
1: a little of it is right.
2: about half of it is right.
3: nearly all of it is right, with small faults.
4: all of it is right.
Explain in one sentence what is right and what is not. Then write on a line of its own: Score: N"""
RUBRICS = {
    "rubric_concept": (
        "The first image shows a subject. The second image was generated and should show the same subject, possibly in "
        "another place, pose or style. Compare the shape, the colours, the texture and, where there is one, the face. "
        "Do not judge the background, and do not judge beauty. Grade how much of the subject is the same.\n" + _SCALE
    ),
    "rubric_prompt": (
        'The image was generated for the text "{prompt}". Check the subject, what it does, where it is, every other '
        "thing, number and colour that the text names, and the style. Do not judge beauty, and do not judge what the "
        "text does not name. Grade how much of the text the image shows.\n" + _SCALE
    ),
}
"""Metric -> what the judge reads, in our words; the scale and what is compared follow arXiv 2406.16855."""
_ANSWER = re.compile(r"score\W{0,4}\s*([0-9]+)(?:\s*/\s*4)?(?![0-9.,]*[0-9])", re.IGNORECASE)


class RubricJudge:
    """A chat model with images that grades by a rubric; decoding is greedy.

    An answer without a grade from 0 to 4 does not count; a log names how many there are. For the concept the judge sees
    a reference beside the generated image, the n-th of the dataset beside the n-th image, and so on in turn.

    Args:
        metric: a key of `RUBRICS`.
        source: a folder or a hub name of a LLaVA, or a Qwen-VL.
        device: torch device; on a GPU the model has the precision of its files, elsewhere float32.

    Raises:
        InputError: the model is not supported, or a file is missing.

    Source: Peng et al., arXiv 2406.16855 (there with GPT-4o, several examples and another text).
    """

    def __init__(self, metric: str, source: str, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModelForImageTextToText

        self.metric = metric
        self.name, self.folder = resolve_source(source)
        check_model_type(self.folder, CHAT_FAMILIES, ROLE)
        self.digest = hashlib.sha256(f"{model_digest(self.folder)}{RUBRICS[metric]}".encode()).hexdigest()
        self.device = torch.device(device)
        self.processor = load_processor(self.folder, ROLE)
        dtype: torch.dtype | Literal["auto"] = "auto" if self.device.type != "cpu" else torch.float32
        self.model = load_pretrained(AutoModelForImageTextToText, self.folder, ROLE, dtype).to(self.device)

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images two"]:
        """Return the grade and 1 per image; 0 and 0 where the answer holds none.

        Raises:
            InputError: the rubric needs references, and there are none.
        """
        sees_reference = self.metric == "rubric_concept"
        if sees_reference and len(inputs.references) == 0:
            raise InputError("Quality predictor `rubric_concept` needs images of the dataset, but got none.")
        result, refused = np.zeros((len(inputs.images), 2)), []
        for row in range(len(inputs.images)):
            images = [inputs.images[row].convert("RGB")]
            if sees_reference:
                images.insert(0, inputs.references[row % len(inputs.references)].convert("RGB"))
            prompt = inputs.prompts[row].evaluation if inputs.prompts else ""
            answer = self.answer(images, RUBRICS[self.metric].replace("{prompt}", prompt))
            grade = parse_grade(answer)
            if grade is None:
                refused.append(answer)
            else:
                result[row] = grade, 1
        if refused:
            logger.warning(
                "Judge `%s`: %d of %d answers hold no grade and do not count, such as %r.",
                self.name, len(refused), len(inputs.images), refused[0][:80],
            )  # fmt: skip
        return result

    @torch.inference_mode()
    def answer(self, images: Sequence[Image.Image], text: str) -> str:
        """Return what the judge says to a message of images and a text."""
        prompt = chat_prompt(self.processor, text, self.folder, ROLE, len(images))
        inputs = self.processor(images=list(images), text=[prompt], return_tensors="pt")
        with silence_transformers():
            ids = self.model.generate(
                **inputs.to(self.device, self.model.dtype), max_new_tokens=MAX_NEW_TOKENS, num_beams=1, do_sample=False
            )
        answered = ids[:, inputs["input_ids"].shape[1] :]
        return str(self.processor.batch_decode(answered, skip_special_tokens=True)[0])


def parse_grade(answer: str) -> int | None:
    """Return the last grade in an answer, written as ``Score: 3`` or ``Score: 3/4``; None without one from 0 to 4."""
    found = _ANSWER.findall(answer)
    grade = int(found[-1]) if found else None
    return grade if grade is not None and grade <= HIGHEST else None
