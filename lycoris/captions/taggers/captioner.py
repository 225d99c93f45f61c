"""Captioners: one sentence for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from PIL import Image

from lycoris.captions.sidecar import SIDECAR, SidecarCaptioner
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    import torch

POCKET = "pocket"


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


def open_captioner(
    source: str | Path = POCKET, device: str | torch.device = "cpu", instruction: str | None = None
) -> Captioner:
    """Open a captioner by name.

    Args:
        source: ``"pocket"`` for the embedded captioner; ``"sidecar"`` for the text files next to the images; a folder
            or a hub name of a network, see `TransformersCaptioner`.
        device: torch device; ``"auto"`` takes a GPU if there is one.
        instruction: what a model that follows instructions is asked for, in place of its family's default.

    Raises:
        InputError: the captioner does not exist, its files do not match, or it follows no instructions.
    """
    if str(source) in (POCKET, SIDECAR):
        _check_no_instruction(source, instruction)
    if str(source) == SIDECAR:
        return SidecarCaptioner()
    from lycoris.pretrained import resolve_device

    device = resolve_device(device)
    if str(source) == POCKET:
        return PocketCaptioner(device)
    from lycoris.captions.taggers.image_to_text import TransformersCaptioner

    name, folder = _resolve_source(source)
    return TransformersCaptioner(name, folder, captioner_digest(source, instruction), device, instruction=instruction)


def captioner_digest(source: str | Path = POCKET, instruction: str | None = None) -> str:
    """Compute the SHA-256 of a captioner's files and instruction in hexadecimal, without opening it.

    For ``"sidecar"`` it is the hash of the name: the text files are read anew each time.

    Raises:
        InputError: the captioner does not exist, or it follows no instructions.
    """
    if str(source) in (POCKET, SIDECAR):
        _check_no_instruction(source, instruction)
    if str(source) == SIDECAR:
        return SidecarCaptioner.digest
    if str(source) == POCKET:
        from lycoris.captions.taggers.tagger import tagger_digest

        return tagger_digest(POCKET)
    from lycoris.captions.taggers.image_to_text import network_digest

    return network_digest(_resolve_source(source)[1], instruction)


def check_captioner(source: str | Path = POCKET, instruction: str | None = None) -> None:
    """Check a captioner's processor, tokenizer and chat template, without reading its weights.

    Raises:
        InputError: as for `open_captioner`, except for the weights.
    """
    if str(source) in (POCKET, SIDECAR):
        _check_no_instruction(source, instruction)
        return
    from lycoris.captions.taggers.image_to_text import open_processor

    open_processor(_resolve_source(source)[1], instruction)


def captioner_prompt(source: str | Path = POCKET, instruction: str | None = None) -> str | None:
    """What a captioner is asked for, by `instruction` or by its family; None for one that is asked for nothing.

    Raises:
        InputError: as for `captioner_digest`.
    """
    if str(source) in (POCKET, SIDECAR):
        _check_no_instruction(source, instruction)
        return None
    from lycoris.captions.taggers.image_to_text import task_prompt

    return task_prompt(_resolve_source(source)[1], instruction)


def _check_no_instruction(source: str | Path, instruction: str | None) -> None:
    if instruction is not None:
        raise InputError(f"Argument `instruction` must be None for captioner `{source}`, which follows none.")


def _resolve_source(source: str | Path) -> tuple[str, Path]:
    from lycoris.encoders.model_sources import resolve_source

    if "/" not in str(source) and not Path(source).exists():
        raise unknown_name_error("captioner", source, [POCKET, SIDECAR])
    name, folder = resolve_source(source)
    if not folder.is_dir():
        raise InputError(f"Argument `source` must be the folder of a captioner, but `{source}` is a file.")
    return name, folder
