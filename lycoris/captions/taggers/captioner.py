"""Captioners: pictures in, for each a sentence out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from lycoris.captions.sidecar import SIDECAR, SidecarCaptioner
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    import torch

POCKET = "pocket"
MAX_NEW_TOKENS = 100
"""A sentence ends after so many tokens at the latest."""
TASK_PROMPTS: Mapping[str, str | None] = {"blip": None, "git": None, "florence2": "<DETAILED_CAPTION>"}
"""``model_type`` of a configuration -> the prompt that asks for a sentence, if one does. A new family is one line."""


class Captioner(Protocol):
    """Pictures to sentences."""

    @property
    def name(self) -> str:
        """What stands for the captioner where several are compared."""

    @property
    def digest(self) -> str:
        """The sha256 over everything its sentences depend on besides the pictures."""

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """For each picture a sentence on one line, in the order of `images`; it may be empty."""


class TransformersCaptioner:
    """A captioning network in the layout of the transformers library: BLIP, GIT or Florence-2.

    Words are chosen greedily, so that a picture has the same sentence every time.

    Args:
        name: what stands for the captioner.
        folder: ``config.json``, weights, the processor's files and the tokenizer's.
        digest: the sha256 over these files.
        device: where it runs.
        batch_size: pictures at a time.

    Raises:
        InputError: a file is missing or does not fit the others, or the family is unknown.
    """

    def __init__(
        self, name: str, folder: Path, digest: str, device: str | torch.device = "cpu", batch_size: int = 16
    ) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from lycoris.captions.taggers.pretrained import load_pretrained

        self.name = name
        self.digest = digest
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.prompt = TASK_PROMPTS[_model_family(folder)]
        try:
            self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(f"Captioner folder `{folder}` must hold its processor: {error}") from error
        self.model = load_pretrained(AutoModelForImageTextToText, folder, "Captioner").to(self.device)

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """For each picture a sentence on one line, in the order of `images`."""
        return [sentence for batch in self._batches(images) for sentence in self._generate(batch)]

    def _batches(self, images: Sequence[Image.Image]) -> Iterator[list[Image.Image]]:
        for start in range(0, len(images), self.batch_size):
            yield [images[index] for index in range(start, min(start + self.batch_size, len(images)))]

    def _generate(self, images: list[Image.Image]) -> list[str]:
        import torch

        asked = {} if self.prompt is None else {"text": [self.prompt] * len(images)}
        given = self.processor(images=[image.convert("RGB") for image in images], return_tensors="pt", **asked)
        with torch.inference_mode():
            ids = self.model.generate(
                **given.to(self.device), max_new_tokens=MAX_NEW_TOKENS, num_beams=1, do_sample=False
            )
        return [normalize_sentence(text) for text in self.processor.batch_decode(ids, skip_special_tokens=True)]


class PocketCaptioner:
    """What the embedded tagger sees, in a sentence of the embedded world: "a purple bear wearing a hat in the snow".

    Args:
        device: where the tagger runs.
    """

    name = POCKET

    def __init__(self, device: str | torch.device = "cpu") -> None:
        from lycoris.captions.taggers.tagger import open_tagger

        self._pocket_tagger = open_tagger(POCKET, device)
        self.digest = self._pocket_tagger.digest

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """For each picture a sentence, in the order of `images`."""
        return [describe_tags(seen, self._pocket_tagger.categories) for seen in self._pocket_tagger.tags(images)]


def describe_tags(tags: Mapping[str, float], categories: Mapping[str, str]) -> str:
    """The tags of a drawing in a sentence of the embedded world; what its grammar has no place for is left out.

    Args:
        seen: tag -> confidence, best first.
        categories: tag -> category; of a category the first tag counts.
    """
    from lycoris.pocket.world.vocabulary import Tags, to_sentence

    kinds = {categories[tag]: tag for tag in reversed(list(tags))}
    style = kinds.get("style")
    return to_sentence(
        Tags(
            species=kinds.get("species"),
            colour=kinds.get("colour"),
            accessory=kinds.get("accessory"),
            background=kinds.get("background"),
            style=style and style.removesuffix(" style"),
        )
    )


def normalize_sentence(text: str) -> str:
    """A sentence as captions hold it: on one line, without a full stop at its end."""
    return " ".join(text.split()).rstrip(". ")


def open_captioner(source: str | Path = POCKET, device: str | torch.device = "cpu") -> Captioner:
    """A captioner by name.

    Args:
        source: ``"pocket"`` for the embedded one; ``"sidecar"`` for the text files beside the pictures; a folder
            or a hub name of a BLIP, GIT or Florence-2.
        device: where it runs; ``"auto"`` takes a GPU where there is one.

    Raises:
        InputError: there is no such captioner, or its files do not fit.
    """
    if str(source) == SIDECAR:
        return SidecarCaptioner()
    import torch

    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if str(source) == POCKET:
        return PocketCaptioner(device)
    name, folder = _resolve_source(source)
    return TransformersCaptioner(name, folder, captioner_digest(source), device)


def captioner_digest(source: str | Path = POCKET) -> str:
    """The sha256 over a captioner's files, in hexadecimal, without opening it.

    Of ``"sidecar"`` it is that of its name: what the files beside the pictures hold is read anew each time.

    Raises:
        InputError: there is no such captioner.
    """
    if str(source) == SIDECAR:
        return SidecarCaptioner.digest
    if str(source) == POCKET:
        from lycoris.captions.taggers.tagger import tagger_digest

        return tagger_digest(POCKET)
    from lycoris.encoders.model_sources import model_digest

    _, folder = _resolve_source(source)
    return hashlib.sha256(
        f"{model_digest(folder)}{TASK_PROMPTS[_model_family(folder)]}{MAX_NEW_TOKENS}".encode()
    ).hexdigest()


def _resolve_source(source: str | Path) -> tuple[str, Path]:
    from lycoris.encoders.model_sources import resolve_source

    if "/" not in str(source) and not Path(source).exists():
        raise unknown_name_error("captioner", source, [POCKET, SIDECAR])
    name, folder = resolve_source(source)
    if not folder.is_dir():
        raise InputError(f"Argument `source` must be the folder of a captioner, but `{source}` is a file.")
    return name, folder


def _model_family(folder: Path) -> str:
    try:
        stated = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"Captioner folder `{folder}` must hold `config.json`, but has none to read.") from error
    if stated not in TASK_PROMPTS:
        raise unknown_name_error("captioner family", stated, TASK_PROMPTS)
    return stated
