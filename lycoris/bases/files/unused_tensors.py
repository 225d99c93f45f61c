"""A message about the tensors of a base's file that no part is loaded from."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lycoris.bases.families.family import Family
    from lycoris.bases.files.model_files import ModelFiles

MAX_GROUPS = 6
_MEANINGS = {
    "model_ema": "averaged weights",
    "text_encoders.t5xxl": "T5, whose states are zeros instead",
    "first_stage_model": "the VAE",
}
"""Beginning of names -> what the tensors are."""

logger = logging.getLogger(__name__)


def log_unused_tensors(files: ModelFiles, family: Family) -> None:
    """Log how many tensors no part is loaded from, by the beginning of their names.

    Args:
        files: the base's.
        family: of the base.

    Raises:
        InputError: the weights have shapes that are not those of the family's parts.
    """
    classes = family.part_classes(files)
    unused = files.unused_tensors({part: path for part, path in classes.items() if not part.startswith("tokenizer")})
    if unused:
        logger.info("%s", _describe(files, unused))


def _describe(files: ModelFiles, unused: list[str]) -> str:
    counts = Counter(_group(name) for name in unused)
    first = {_group(name): name for name in reversed(unused)}
    parts = [
        (f"{count} {group}.*" if count > 1 else first[group]) + (f" ({_MEANINGS[group]})" if group in _MEANINGS else "")
        for group, count in counts.most_common(MAX_GROUPS)
    ]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(MAX_GROUPS))
    more = f" and {rest} more" if rest else ""
    return f"Base `{files.path}` has {len(unused)} tensors that are not used: {', '.join(parts)}{more}."


def _group(name: str) -> str:
    """The beginning of a name that tensors of one purpose share."""
    known = next((start for start in _MEANINGS if name.startswith(f"{start}.")), None)
    return known or ".".join(name.split(".")[:3])
