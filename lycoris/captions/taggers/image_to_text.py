"""Captioning networks of the transformers library, and how each family is asked for a sentence."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)

INSTRUCTION = "Describe this image in one sentence, without an introduction."
"""What models that follow instructions are asked for by default."""
TASK_PROMPTS: Mapping[str, str | None] = {
    "blip": None,
    "git": None,
    "florence2": "<DETAILED_CAPTION>",
    "llava": INSTRUCTION,
    "qwen2_vl": INSTRUCTION,
    "qwen2_5_vl": INSTRUCTION,
    "qwen3_vl": INSTRUCTION,
}
"""``model_type`` of a configuration -> the prompt that requests a sentence, if any. A new family is one line."""
MAX_NEW_TOKENS, MAX_INSTRUCTED_TOKENS = 100, 300
"""Length of a caption at most; the second of models that follow instructions."""


class TransformersCaptioner:
    """A captioning network in the transformers layout: BLIP, GIT, Florence-2, LLaVA (JoyCaption) or Qwen-VL.

    Decoding is greedy, so that an image always gets the same sentence. A model that follows instructions is asked for
    one by its chat template. On a GPU it has the precision of its files, elsewhere float32.

    Args:
        name: short name in comparisons.
        folder: ``config.json``, weights, and the files of the processor and the tokenizer.
        digest: see `network_digest`.
        device: torch device.
        batch_size: images per batch.
        instruction: what a model that follows instructions is asked for; None for `INSTRUCTION`.

    Raises:
        InputError: a file is missing or does not match the others, the family is not supported, or `instruction` is
            set and the family follows none.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        digest: str,
        device: str | torch.device = "cpu",
        batch_size: int = 16,
        instruction: str | None = None,
    ) -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        from lycoris.pretrained import load_pretrained

        self.name = name
        self.digest = digest
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.is_chat = follows_instructions(folder)
        self.max_new_tokens = MAX_INSTRUCTED_TOKENS if self.is_chat else MAX_NEW_TOKENS
        self.processor, self.prompt = open_processor(folder, instruction)
        dtype: torch.dtype | Literal["auto"] = "auto" if self.is_chat and self.device.type != "cpu" else torch.float32
        self.model = load_pretrained(AutoModelForImageTextToText, folder, "captioner", dtype).to(self.device)

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """Describe each image in one line, in the order of `images`; a log counts instructed sentences that are cut."""
        sentences: list[str] = []
        cut = 0
        for start in range(0, len(images), self.batch_size):
            end = min(start + self.batch_size, len(images))
            ids = self._generate([images[index].convert("RGB") for index in range(start, end)])
            cut += self._count_cut(ids)
            sentences += map(normalize_sentence, self.processor.batch_decode(ids, skip_special_tokens=True))
        if cut:
            logger.warning(
                "Captioner `%s`: %d of %d sentences are cut at %d tokens.", self.name, cut, len(images),
                self.max_new_tokens,
            )  # fmt: skip
        return sentences

    def _generate(self, images: list[Image.Image]) -> Tensor:
        """The tokens that the network generates for images of any sizes, without those of the prompt."""
        import torch

        from lycoris.pretrained import silence_transformers

        text = {} if self.prompt is None else {"text": [self.prompt] * len(images)}
        padding = {"padding": True} if self.is_chat else {}
        inputs = self.processor(images=images, return_tensors="pt", **text, **padding)
        with torch.inference_mode(), silence_transformers():
            ids = self.model.generate(
                **inputs.to(self.device, self.model.dtype),
                max_new_tokens=self.max_new_tokens,
                num_beams=1,
                do_sample=False,
            )
        return ids[:, inputs["input_ids"].shape[1] :] if self.is_chat else ids

    def _count_cut(self, ids: Tensor) -> int:
        """How many rows fill the whole length without a token that ends them, which other families force."""
        if not self.is_chat or ids.shape[1] < self.max_new_tokens:
            return 0
        options = self.model.generation_config
        given = (options.eos_token_id, options.pad_token_id)
        ends = {number for each in given for number in (each if isinstance(each, list) else [each])}
        return sum(number not in ends for number in ids[:, -1].tolist())


def normalize_sentence(text: str) -> str:
    """Join a sentence into one line without a final full stop, as captions hold it."""
    return " ".join(text.split()).rstrip(". ")


def follows_instructions(folder: Path) -> bool:
    """Whether a captioner's family is asked for a sentence by an instruction.

    Raises:
        InputError: ``config.json`` is missing, or the family is not supported.
    """
    return TASK_PROMPTS[_model_family(folder)] == INSTRUCTION


def task_prompt(folder: Path, instruction: str | None) -> str | None:
    """The text that requests a sentence of a captioner, before a chat template; None for families that take none.

    Raises:
        InputError: the family is not supported, or `instruction` is set and empty, or the family follows none.
    """
    family = _model_family(folder)
    if instruction is None:
        return TASK_PROMPTS[family]
    if TASK_PROMPTS[family] != INSTRUCTION:
        able = ", ".join(name for name, prompt in TASK_PROMPTS.items() if prompt == INSTRUCTION)
        raise InputError(
            f"Argument `instruction` must be None for captioner `{folder}` of family `{family}`: families that follow "
            f"instructions are {able}."
        )
    if not instruction.strip():
        raise InputError("Argument `instruction` must not be empty.")
    return instruction


def network_digest(folder: Path, instruction: str | None) -> str:
    """SHA-256 of a captioner's files, with the chat template, and of everything else that its sentences depend on."""
    from lycoris.encoders.model_sources import model_digest

    text = f"{model_digest(folder)}{task_prompt(folder, instruction)}{MAX_NEW_TOKENS}{MAX_INSTRUCTED_TOKENS}"
    return hashlib.sha256(text.encode()).hexdigest()


def open_processor(folder: Path, instruction: str | None) -> tuple[Any, str | None]:
    """The processor of a captioner, and the text that goes with each image; no weight is read.

    Raises:
        InputError: as for `TransformersCaptioner`, except for the weights.
    """
    from lycoris.encoders.chat_models import chat_prompt, load_processor

    prompt, processor = task_prompt(folder, instruction), load_processor(folder, "captioner")
    if follows_instructions(folder):
        prompt = chat_prompt(processor, str(prompt), folder, "captioner")
    return processor, prompt


def _model_family(folder: Path) -> str:
    from lycoris.pretrained import check_model_type

    return check_model_type(folder, TASK_PROMPTS, "captioner")
