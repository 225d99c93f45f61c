"""The digest of a base: of its files, and of how they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lycoris.bases.quantization import Precisions

if TYPE_CHECKING:
    from lycoris.bases.families.family import Family
    from lycoris.bases.files.model_files import ModelFiles


def compute_digest(
    family: Family,
    files: ModelFiles,
    resolution: int | None = None,
    max_token_length: int | None = None,
    precisions: Precisions = Precisions(),  # noqa: B008 - frozen
) -> str:
    """Compute `Base.digest` without opening the model.

    Raises:
        InputError: a part is missing.
    """
    required = required_files(family.part_classes(files))
    files.check_parts(required)
    content, options = files.digest(required), family.digest_options(files)
    if resolution is not None:
        options += f" resolution {resolution}"
    if max_token_length is not None:
        options += f" max_token_length {max_token_length}"
    for part, precision in precisions.options.items():
        options += f" precision {part} {precision}"
    return hashlib.sha256(f"{content} {options}".encode()).hexdigest() if options else content


def required_files(classes: Mapping[str, str]) -> dict[str, str]:
    """The file that each part's folder must hold; ``"weights"`` for a configuration and safetensors."""
    files = {part: "tokenizer_config.json" if is_tokenizer(part) else "weights" for part in classes}
    return {**files, "scheduler": "scheduler_config.json"}


def is_tokenizer(part: str) -> bool:
    """Whether a part is a tokenizer, by its name in a pipeline."""
    return part.startswith("tokenizer")
