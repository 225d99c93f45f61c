"""Prompts and captions that the user wrote: in one file, or next to images that were generated elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.sidecar import Sidecars
from lycoris.captions.templates import CategoryTemplates, Templates
from lycoris.captions.trigger_text import describe_caption, fill_trigger, with_description, with_trigger
from lycoris.data.concepts import Concept
from lycoris.data.images import list_images
from lycoris.data.prompt_spec import PromptSpec
from lycoris.errors import InputError, missing_path_error, unknown_name_error
from lycoris.safety.yaml_loading import read_yaml
from lycoris.terms import PROMPT_TYPES

CONCEPT_PLACEHOLDER = "{concept}"
PROMPTS_FILE = "prompts.json"


def read_prompts(
    file: Path,
    concept: Concept,
    *,
    images_per_prompt: int = 1,
    seed: int = 1000,
    templates: Templates | None = None,
) -> dict[str, list[PromptSpec]]:
    """Read the prompts in a file.

    Args:
        file: a text file with one prompt of the type `alter` per line; or JSON or YAML: prompt type -> prompts.
            ``{concept}`` in a prompt stands for the trigger with its class noun, and ``[trigger]`` for the trigger
            alone; a prompt without them is used unchanged.
        concept: the concept to generate.
        images_per_prompt: at least 1.
        seed: seed of the first image of each type; the n-th has ``seed + n``.
        templates: sentences by category; the pocket's by default.

    Returns:
        Prompt type -> one prompt per image.

    Raises:
        InputError: the file cannot be read, is empty, or names an unknown prompt type.
    """
    if images_per_prompt < 1:
        raise InputError(f"Argument `images_per_prompt` must be at least 1, but got {images_per_prompt}.")
    return fill_prompts(
        _read_prompt_texts(file), concept, images_per_prompt=images_per_prompt, seed=seed, templates=templates
    )


def fill_prompts(
    texts_by_type: Mapping[str, Sequence[str]],
    concept: Concept,
    *,
    images_per_prompt: int = 1,
    seed: int = 1000,
    templates: Templates | None = None,
) -> dict[str, list[PromptSpec]]:
    """Put a concept into prompts; `texts_by_type` are prompt type -> prompts, other arguments as for `read_prompts`."""
    own = (templates or templates_for_base()).for_concept(concept)
    result = {}
    for prompt_type, texts in texts_by_type.items():
        pairs = [_fill_placeholder(concept, text, own) for text in texts]
        rows = [(*pair, group) for group, pair in enumerate(pairs) for _ in range(images_per_prompt)]
        result[prompt_type] = [
            PromptSpec(text, evaluation, seed + n, group) for n, (text, evaluation, group) in enumerate(rows)
        ]
    return result


def read_captioned_images(
    folder: Path, concept: Concept, *, seed: int = 1000, templates: Templates | None = None
) -> tuple[dict[str, list[Path]], dict[str, list[PromptSpec]]]:
    """Find the images in a folder with the prompts they were generated from.

    Args:
        folder: images with a text file next to each (``01.txt`` for ``01.png``), which count as the type `train`; or
            subfolders of such images named after prompt types, beside which further images count as `train`; or the
            images of a run, with its ``prompts.json``. Where an image has no text file, the prompts of its type count
            as unknown.
        concept: the concept that the images show.
        seed: seed of the first image of each type, the n-th having ``seed + n``; ``prompts.json`` takes precedence.
        templates: sentences by category; the pocket's by default.

    Returns:
        Prompt type -> files, and prompt type -> prompts in the same order, with empty texts where they are unknown.

    Raises:
        InputError: there are no images, or a caption or ``prompts.json`` cannot be read.
    """
    if not folder.is_dir():
        raise missing_path_error("image folder", folder)
    own = (templates or templates_for_base()).for_concept(concept)
    folders = {name: folder / name for name in PROMPT_TYPES if (folder / name).is_dir()}
    files = {name: images for name, subfolder in folders.items() if (images := list_images(subfolder))}
    if not (folder / PROMPTS_FILE).is_file() and (beside := list_images(folder)):
        files["train"] = [*beside, *files.get("train", [])]
    if not files:
        raise InputError(f"The folder `{folder}` holds no images.")
    if (folder / PROMPTS_FILE).is_file():
        return files, _read_prompts(folder / PROMPTS_FILE, list(files))
    prompts = {}
    for name, images in files.items():
        written = _read_captions(images)
        if not all(written):
            prompts[name] = [PromptSpec("", "", seed + n) for n in range(len(images))]
            continue
        captions = [fill_trigger(concept, caption) for caption in written]
        groups = {caption: group for group, caption in enumerate(dict.fromkeys(captions))}
        prompts[name] = [
            PromptSpec(caption, describe_caption(concept, caption, None, own), seed + n, groups[caption])
            for n, caption in enumerate(captions)
        ]
    return files, prompts


def _read_prompts(file: Path, names: Sequence[str]) -> dict[str, list[PromptSpec]]:
    """The prompts of a run's images, which may come from somebody else."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        prompts = {name: [PromptSpec(**entry) for entry in entries[name]] for name in names}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"`{file}` must hold the prompts of {', '.join(names)} as a run writes them: {error!r}"
        ) from error
    for prompt in (prompt for some in prompts.values() for prompt in some):
        texts, numbers = (prompt.text, prompt.evaluation), (prompt.seed, prompt.group)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            raise InputError(f"`{file}` must hold texts and whole numbers, but has {prompt!r:.200}.")
    return prompts


def _read_captions(images: Sequence[Path]) -> list[str]:
    """The caption of each image; empty for one without."""
    sidecars = Sidecars.read(images)
    return [(sidecars.sentences(image) or ("",))[0] for image in images]


def _fill_placeholder(concept: Concept, text: str, templates: CategoryTemplates) -> tuple[str, str]:
    """The prompt with the trigger, and the prompt for evaluation with the description."""
    text = fill_trigger(concept, text)
    if CONCEPT_PLACEHOLDER in text:
        prompt = ", ".join(with_trigger(concept, None, text, templates))
        return prompt, with_description(concept, None, text, templates)
    return text, describe_caption(concept, text, None, templates)


def _read_prompt_texts(file: Path) -> dict[str, Sequence[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The prompt file `{file}` cannot be read: {error}") from error
    content: Any = {"alter": [line for line in text.splitlines() if line.strip()]}
    if file.suffix.lower() in (".json", ".yaml", ".yml"):
        content = read_yaml(text, f"The prompt file `{file}`")
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"The prompt file `{file}` must map prompt types to lists of prompts.")
    for name, prompts in content.items():
        if name not in PROMPT_TYPES:
            raise unknown_name_error("prompt type", name, PROMPT_TYPES)
        if (
            not isinstance(prompts, list)
            or not prompts
            or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts)
        ):
            raise InputError(f"The prompt file `{file}` must hold a list of texts under `{name}`.")
    return {name: [prompt.strip() for prompt in prompts] for name, prompts in content.items()}
