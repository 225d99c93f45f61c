"""Captioners: one sentence for each image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from PIL import Image

from lycoris.captions.sidecar import SIDECAR, SidecarCaptioner
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    import torch

POCKET = "pocket"
MAX_NEW_TOKENS = 100
INSTRUCTION = "Describe this image in one sentence, without an introduction."
"""What models that follow instructions are asked for."""
TASK_PROMPTS: Mapping[str, str | None] = {
    "blip": None,
    "git": None,
    "florence2": "<DETAILED_CAPTION>",
    "llava": INSTRUCTION,
}
"""``model_type`` of a configuration -> the prompt that requests a sentence, if any. A new family is one line."""


@runtime_checkable
class Captioner(Protocol):
    """A model that describes images in sentences."""

    @property
    def name(self) -> str:
        """Short name in comparisons."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything the sentences depend on besides the images."""

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """Describe each image in one line, in the order of `images`; a line may be empty."""


class TransformersCaptioner:
    """A captioning network in the transformers layout: BLIP, GIT, Florence-2 or LLaVA (JoyCaption).

    Decoding is greedy, so that an image always gets the same sentence. A model that follows instructions is asked for
    one by the chat template of its processor.

    Args:
        name: short name in comparisons.
        folder: ``config.json``, weights, and the files of the processor and the tokenizer.
        digest: SHA-256 of these files.
        device: torch device.
        batch_size: images per batch.

    Raises:
        InputError: a file is missing or does not match the others, or the family is not supported.
    """

    def __init__(
        self, name: str, folder: Path, digest: str, device: str | torch.device = "cpu", batch_size: int = 16
    ) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from lycoris.pretrained import load_pretrained

        self.name = name
        self.digest = digest
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.prompt = TASK_PROMPTS[_model_family(folder)]
        try:
            self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(f"Captioner folder `{folder}` must hold its processor: {error}") from error
        self.is_chat = self.prompt == INSTRUCTION
        if self.is_chat:
            self.prompt = self._chat_prompt(folder)
            self.processor.tokenizer.padding_side = "left"
        self.model = load_pretrained(AutoModelForImageTextToText, folder, "captioner").to(self.device)

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """Describe each image in one line, in the order of `images`."""
        return [sentence for batch in self._batches(images) for sentence in self._generate(batch)]

    def _chat_prompt(self, folder: Path) -> str:
        """The instruction with a place for the image, as the model's chat template writes it."""
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": INSTRUCTION}]}
        try:
            return str(self.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"Captioner folder `{folder}` must hold a chat template: {error}") from error

    def _batches(self, images: Sequence[Image.Image]) -> Iterator[list[Image.Image]]:
        for start in range(0, len(images), self.batch_size):
            yield [images[index] for index in range(start, min(start + self.batch_size, len(images)))]

    def _generate(self, images: list[Image.Image]) -> list[str]:
        import torch

        text = {} if self.prompt is None else {"text": [self.prompt] * len(images)}
        padding = {"padding": True} if self.is_chat else {}
        rgb = [image.convert("RGB") for image in images]
        inputs = self.processor(images=rgb, return_tensors="pt", **text, **padding)
        with torch.inference_mode():
            ids = self.model.generate(
                **inputs.to(self.device), max_new_tokens=MAX_NEW_TOKENS, num_beams=1, do_sample=False
            )
        if self.is_chat:  # what is generated follows the prompt
            ids = ids[:, inputs["input_ids"].shape[1] :]
        return [normalize_sentence(text) for text in self.processor.batch_decode(ids, skip_special_tokens=True)]


class PocketCaptioner:
    """The tags of the embedded tagger as a sentence of the embedded world: "a purple bear wearing a hat in the snow".

    Args:
        device: torch device of the tagger.
    """

    name = POCKET

    def __init__(self, device: str | torch.device = "cpu") -> None:
        from lycoris.captions.taggers.tagger import open_tagger

        self._tagger = open_tagger(POCKET, device)
        self.digest = self._tagger.digest

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """Describe each image, in the order of `images`."""
        return [describe_tags(tags, self._tagger.categories) for tags in self._tagger.tags(images)]


def describe_tags(tags: Mapping[str, float], categories: Mapping[str, str]) -> str:
    """Write the tags of an image as a sentence of the embedded world; tags outside its grammar are dropped.

    Args:
        tags: tag -> confidence, highest first.
        categories: tag -> category; the first tag of each category counts.
    """
    from lycoris.pocket.world.vocabulary import Tags, to_sentence

    by_category = {categories[tag]: tag for tag in reversed(list(tags))}
    style = by_category.get("style")
    return to_sentence(
        Tags(
            species=by_category.get("species"),
            colour=by_category.get("colour"),
            accessory=by_category.get("accessory"),
            background=by_category.get("background"),
            style=style and style.removesuffix(" style"),
        )
    )


def normalize_sentence(text: str) -> str:
    """Join a sentence into one line without a final full stop, as captions hold it."""
    return " ".join(text.split()).rstrip(". ")


def open_captioner(source: str | Path = POCKET, device: str | torch.device = "cpu") -> Captioner:
    """Open a captioner by name.

    Args:
        source: ``"pocket"`` for the embedded captioner; ``"sidecar"`` for the text files next to the images; a folder
            or a hub name of a BLIP, GIT, Florence-2 or LLaVA.
        device: torch device; ``"auto"`` takes a GPU if there is one.

    Raises:
        InputError: the captioner does not exist, or its files do not match.
    """
    if str(source) == SIDECAR:
        return SidecarCaptioner()
    from lycoris.pretrained import resolve_device

    device = resolve_device(device)
    if str(source) == POCKET:
        return PocketCaptioner(device)
    name, folder = _resolve_source(source)
    return TransformersCaptioner(name, folder, captioner_digest(source), device)


def captioner_digest(source: str | Path = POCKET) -> str:
    """Compute the SHA-256 of a captioner's files in hexadecimal, without opening it.

    For ``"sidecar"`` it is the hash of the name: the text files are read anew each time.

    Raises:
        InputError: the captioner does not exist.
    """
    if str(source) == SIDECAR:
        return SidecarCaptioner.digest
    if str(source) == POCKET:
        from lycoris.captions.taggers.tagger import tagger_digest

        return tagger_digest(POCKET)
    from lycoris.encoders.model_sources import model_digest

    _, folder = _resolve_source(source)
    text = f"{model_digest(folder)}{TASK_PROMPTS[_model_family(folder)]}{MAX_NEW_TOKENS}"
    return hashlib.sha256(text.encode()).hexdigest()


def _resolve_source(source: str | Path) -> tuple[str, Path]:
    from lycoris.encoders.model_sources import resolve_source

    if "/" not in str(source) and not Path(source).exists():
        raise unknown_name_error("captioner", source, [POCKET, SIDECAR])
    name, folder = resolve_source(source)
    if not folder.is_dir():
        raise InputError(f"Argument `source` must be the folder of a captioner, but `{source}` is a file.")
    return name, folder


def _model_family(folder: Path) -> str:
    from lycoris.pretrained import check_model_type

    return check_model_type(folder, TASK_PROMPTS, "captioner")
