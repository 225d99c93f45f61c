"""Prompts and captions that the user wrote: in one file, or beside pictures that were drawn elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.prompts import PromptSpec
from lycoris.captions.templates import CategoryTemplates, Templates
from lycoris.captions.trigger_text import describe_caption, with_description, with_trigger
from lycoris.data.concepts import Concept
from lycoris.data.images import list_images
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.yaml_loading import read_yaml
from lycoris.terms import PROMPT_TYPES

CONCEPT_PLACEHOLDER = "{concept}"
PROMPTS_FILE = "prompts.json"


def read_prompts(
    file: Path, concept: Concept, *, images_per_prompt: int = 1, seed: int = 1000, templates: Templates | None = None
) -> dict[str, list[PromptSpec]]:
    """The prompts of a file.

    Args:
        file: text, a prompt a line, of the type `alter`; or JSON or YAML: prompt type -> prompts. ``{concept}`` in a
            prompt stands for the concept's trigger; where there is none the prompt is taken as it is.
        concept: what is drawn.
        each: how many pictures of each prompt, at least 1.
        seed: of the first of each type; the n-th has ``seed + n``.
        templates: sentences by category; those of the pocket by default.

    Raises:
        InputError: the file cannot be read, is empty, or has an unknown prompt type.
    """
    if images_per_prompt < 1:
        raise InputError(f"Argument `each` must be at least 1, but got {images_per_prompt}.")
    wording = (templates or templates_for_base()).for_concept(concept)
    result = {}
    for kind, texts in _read_prompt_texts(file).items():
        pairs = [_prompt_texts(concept, text, wording) for text in texts]
        rows = [(*pair, group) for group, pair in enumerate(pairs) for _ in range(images_per_prompt)]
        result[kind] = [PromptSpec(text, told, seed + n, group) for n, (text, told, group) in enumerate(rows)]
    return result


def read_captioned_images(
    folder: Path, concept: Concept, *, seed: int = 1000, templates: Templates | None = None
) -> tuple[dict[str, list[Path]], dict[str, list[PromptSpec]]]:
    """Pictures that someone drew, with their captions.

    Args:
        folder: pictures with a text file beside each (``01.txt`` for ``01.png``), which are taken for drawings of the
            type `train`; or folders of such named as prompt types; or what a run of this project drew, with its
            ``prompts.json``.
        concept: what they are to show.
        seed: what the first of each type was drawn from, unless ``prompts.json`` says; the n-th from ``seed + n``.
        templates: sentences by category; those of the pocket by default.

    Returns:
        Prompt type -> files, and prompt type -> prompts in the same order.

    Raises:
        InputError: there are no pictures, or one has no caption.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder `{folder}` of pictures.")
    wording = (templates or templates_for_base()).for_concept(concept)
    folders = {kind: folder / kind for kind in PROMPT_TYPES if (folder / kind).is_dir()} or {"train": folder}
    files = {kind: found for kind, each in folders.items() if (found := list_images(each))}
    if not files:
        raise InputError(f"The folder `{folder}` holds no pictures.")
    if (folder / PROMPTS_FILE).is_file():
        told = json.loads((folder / PROMPTS_FILE).read_text(encoding="utf-8"))
        return files, {kind: [PromptSpec(**entry) for entry in told[kind]] for kind in files}
    prompts = {}
    for kind, pictures in files.items():
        texts = [_read_caption(picture) for picture in pictures]
        groups = {text: group for group, text in enumerate(dict.fromkeys(texts))}
        prompts[kind] = [
            PromptSpec(text, describe_caption(concept, text, None, wording), seed + n, groups[text])
            for n, text in enumerate(texts)
        ]
    return files, prompts


def _read_caption(image_file: Path) -> str:
    file = image_file.with_suffix(".txt")
    try:
        return " ".join(file.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Picture `{image_file}` needs its caption in `{file.name}` beside it: {error}") from error


def _prompt_texts(concept: Concept, text: str, templates: CategoryTemplates) -> tuple[str, str]:
    if CONCEPT_PLACEHOLDER in text:
        return ", ".join(with_trigger(concept, None, text, templates)), with_description(concept, None, text, templates)
    return text, describe_caption(concept, text, None, templates)


def _read_prompt_texts(file: Path) -> dict[str, Sequence[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The prompt file `{file}` cannot be read: {error}") from error
    given: Any = {"alter": [line for line in text.splitlines() if line.strip()]}
    if file.suffix.lower() in (".json", ".yaml", ".yml"):
        given = read_yaml(text, f"The prompt file `{file}`")
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"The prompt file `{file}` must map prompt types to lists of prompts.")
    for kind, texts in given.items():
        if kind not in PROMPT_TYPES:
            raise unknown_name_error("prompt type", kind, PROMPT_TYPES)
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(each, str) and each.strip() for each in texts)
        ):
            raise InputError(f"The prompt file `{file}` must hold texts under `{kind}`.")
    return {kind: [each.strip() for each in texts] for kind, texts in given.items()}
