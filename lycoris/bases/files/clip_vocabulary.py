"""CLIP's vocabulary, the one thing that a single file does not hold."""

from __future__ import annotations

import re
from pathlib import Path

from lycoris.errors import InputError

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
"""Whose vocabulary every Stable Diffusion has."""
VOCABULARY_PATTERNS = ["vocab.json", "merges.txt", "tokenizer*.json", "special_tokens_map.json", "tokenizer/*"]


def find_vocabulary(file: Path, tokenizer: str | Path | None) -> Path:
    """The folder of the tokenizer that goes with a single file.

    Args:
        file: the model.
        tokenizer: a tokenizer's folder, a base's folder or a hub name; when left out a folder ``tokenizer`` beside
            the file, else `CLIP` from the hub or its cache.

    Returns:
        A folder with ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``.

    Raises:
        InputError: there is none; it says what to give.
    """
    beside = file.parent / "tokenizer"
    chosen = tokenizer if tokenizer is not None else beside if beside.is_dir() else CLIP_TOKENIZER
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(chosen)):
            raise InputError(f"Argument `tokenizer` must be a folder or a hub name, but there is no folder {chosen}.")
        folder = _download(str(chosen), file)
    for place in (folder, folder / "tokenizer"):
        if (place / "tokenizer.json").is_file() or (place / "vocab.json").is_file():
            return place
    raise InputError(
        f"Argument `tokenizer` must be a folder with vocab.json and merges.txt, or tokenizer.json, but {folder} has "
        "neither."
    )


def _download(name: str, file: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=VOCABULARY_PATTERNS))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"Base `{file}` holds no vocabulary, and {name} is neither in the hub's cache nor to be had from the hub. "
            f"Give `tokenizer=` a folder with CLIP's vocab.json and merges.txt, such as `tokenizer/` of any Stable "
            f"Diffusion in the diffusers layout, or put that folder beside the file as {file.parent / 'tokenizer'}."
        ) from error
