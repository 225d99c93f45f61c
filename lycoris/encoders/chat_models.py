"""Vision-language models of the transformers library: their processors, and how a message with images is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from lycoris.pretrained import read_model_type, silence_transformers

MAX_PIXELS = 2**20
"""Pixels of an image at most for a Qwen-VL, which reads images in their own size: a token for 784 or 1024 pixels."""


def load_processor(folder: Path, role: str) -> Any:
    """Load a processor without the part for videos, which needs torchvision and which no image needs.

    Args:
        folder: of the model.
        role: what the model is for, for error messages: ``"captioner"``.

    Raises:
        InputError: a file is missing, or does not fit the others.
    """
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    published = getattr(transformers, PROCESSOR_MAPPING_NAMES[str(read_model_type(folder))])

    class ImageProcessor(published):  # type: ignore[misc, valid-type]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    processor_class = ImageProcessor if "video_processor" in published.get_attributes() else published
    try:
        with silence_transformers():
            processor = processor_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())
        message = f"{role.capitalize()} folder `{folder}` must hold its processor and tokenizer: {reason}"
        raise InputError(message) from error
    size = processor.image_processor.size
    if processor_class is ImageProcessor:  # of a Qwen-VL, which reads images in their own size
        size["longest_edge"] = min(size["longest_edge"], MAX_PIXELS)
    return processor


def chat_prompt(processor: Any, text: str, folder: Path, role: str, images: int = 1) -> str:
    """Write a message with places for images as the model's chat template does, and pad its tokens on the left.

    Args:
        processor: of `load_processor`.
        text: follows the images.
        folder: of the model, for error messages.
        role: what the model is for, for error messages.
        images: how many the message has.

    Raises:
        InputError: there is no template, it cannot be used, it has no place for images, or the model reasons first.
    """
    content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]
    if not processor.chat_template:
        processor.chat_template = processor.tokenizer.chat_template
    if not processor.chat_template:
        raise InputError(
            f"{role.capitalize()} folder `{folder}` must hold a chat template (`chat_template.jinja`, "
            "`chat_template.json` or an entry of `tokenizer_config.json`), but has none."
        )
    message = {"role": "user", "content": content}
    try:
        prompt = str(processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False))
    except Exception as error:  # the errors of templates have no common base class
        raise InputError(f"The chat template of {role} `{folder}` cannot be used: {error}") from error
    if prompt.count(processor.image_token) < images:
        raise InputError(
            f"The chat template of {role} `{folder}` must write `{processor.image_token}` for an image, but writes "
            f"none: is it the template of a model of text only?"
        )
    if prompt.rstrip().endswith("<think>"):
        raise InputError(
            f"{role.capitalize()} `{folder}` reasons before it answers: choose the variant without, `Instruct`."
        )
    processor.tokenizer.padding_side = "left"
    return prompt
