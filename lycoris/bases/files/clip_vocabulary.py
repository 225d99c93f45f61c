"""CLIP's vocabulary, the one part that a single file does not hold."""

from __future__ import annotations

from pathlib import Path

from lycoris.bases.files.hub import download_snapshot, is_hub_name
from lycoris.errors import InputError

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
"""The tokenizer of every Stable Diffusion."""
VOCABULARY_PATTERNS = ["vocab.json", "merges.txt", "tokenizer*.json", "special_tokens_map.json", "tokenizer/*"]


def find_vocabulary(file: Path, tokenizer: str | Path | None) -> Path:
    """Find the tokenizer's folder for a single file.

    Args:
        file: the model.
        tokenizer: a tokenizer's folder, a base's folder or a hub name; defaults to a folder ``tokenizer`` beside the
            file, else to `CLIP_TOKENIZER` from the hub or its cache.

    Returns:
        A folder with ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``.

    Raises:
        InputError: there is none; the message says what to pass.
    """
    beside = file.parent / "tokenizer"
    chosen = tokenizer if tokenizer is not None else beside if beside.is_dir() else CLIP_TOKENIZER
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        if not is_hub_name(str(chosen)):
            raise InputError(f"Argument `tokenizer` must be a folder or a hub name, but there is no folder {chosen}.")
        failure = (
            f"Base `{file}` holds no vocabulary, and {chosen} could not be fetched from the hub. "
            f"Pass `tokenizer=` a folder with CLIP's vocab.json and merges.txt, such as `tokenizer/` of any "
            f"Stable Diffusion in the diffusers layout, or put that folder beside the file as {beside}."
        )
        folder = download_snapshot(str(chosen), VOCABULARY_PATTERNS, failure)
    for candidate in (folder, folder / "tokenizer"):
        if (candidate / "tokenizer.json").is_file() or (candidate / "vocab.json").is_file():
            return candidate
    raise InputError(
        f"Argument `tokenizer` must be a folder with vocab.json and merges.txt, or tokenizer.json, but {folder} has "
        "neither."
    )
