"""Concepts inferred from a folder of photographs that has no concepts file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lycoris.data.concepts_file import CONCEPTS_FILE
from lycoris.data.images import list_images
from lycoris.errors import InputError
from lycoris.safety.file_names import check_folder_name

logger = logging.getLogger(__name__)


def infer_entries(root: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """Infer an entry and a folder for each class.

    Images are in ``category/class/`` (and may be in subclass folders), in ``class/``, or in the folder itself; names
    that the layout lacks are those of the folders above.

    Raises:
        InputError: there are no images, they are at different depths, or two classes share a name.
    """
    folders: dict[str, Path] = {}
    variants: dict[str, set[str]] = {}
    depths = set()
    for file in list_images(root, recursive=True):
        parts = file.relative_to(root).parts[:-1]
        depths.add(min(len(parts), 2))
        if len(depths) > 1:
            raise InputError(
                f"All images must be at the same depth, as in `{root}/<category>/<class>/`, but `{file}` is at another "
                "one: move it, or pass its folder as the data folder."
            )
        folder = root.joinpath(*parts[:2])
        name = parts[min(len(parts), 2) - 1] if parts else root.resolve().name
        if folders.setdefault(name, folder) != folder:
            raise InputError(f"Two classes of `{root}` are named `{name}`: rename one folder.")
        for part in (name, *parts[2:3]):
            check_folder_name(f"Folder `{folder}`", part)
        variants.setdefault(name, set()).update(parts[2:3])
    if not folders:
        raise InputError(f"The data folder `{root}` holds no images (<category>/<class>/image).")
    for folder in sorted(root.glob("*/*/") if depths == {2} else root.glob("*/") if depths == {1} else ()):
        if folder.name not in folders and not folder.name.startswith("."):
            raise InputError(f"The class folder `{folder}` holds no images.")
    triggers = spare_triggers(sorted(folders))
    pairs = ", ".join(f"{name} is `{trigger}`" for name, trigger in triggers.items())
    logger.info("`%s` has no %s; triggers were chosen: %s.", root, CONCEPTS_FILE, pairs)
    entries = {
        name: {
            "category": folder.resolve().parent.name or "pictures",
            "trigger": triggers[name],
            **_infer_wording(name, folder.resolve().parent.name),
            "subclasses": {
                variant: {
                    "trigger": _folder_words(variant),
                    "description": f"{_folder_words(name)}, {_folder_words(variant)}",
                }
                for variant in sorted(variants[name])
            },
        }
        for name, folder in folders.items()
    }
    return entries, folders


def spare_triggers(names: Sequence[str]) -> dict[str, str]:
    """Choose a rare token for each name: the one its hash points at, or the next free one.

    A name's token depends on the other names only where two hashes point at the same token.

    Raises:
        InputError: there are more names than tokens.
    """
    from lycoris.pocket.world.vocabulary import SPARE_TRIGGERS

    if len(names) > len(SPARE_TRIGGERS):
        raise InputError(
            f"There are {len(names)} classes, but only {len(SPARE_TRIGGERS)} spare triggers: write a `{CONCEPTS_FILE}` "
            "that gives each class its own."
        )
    triggers: dict[str, str] = {}
    for name in names:
        start = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        candidates = (SPARE_TRIGGERS[(start + step) % len(SPARE_TRIGGERS)] for step in range(len(SPARE_TRIGGERS)))
        triggers[name] = next(trigger for trigger in candidates if trigger not in triggers.values())
    return triggers


def _infer_wording(name: str, category: str) -> dict[str, str]:
    """Class noun and description from the names of folders; a class in the category `styles` is a style."""
    words = _folder_words(name)
    if category != "styles":
        return {"class_noun": words}
    return {"class_noun": "style", "description": words if words.casefold().endswith("style") else f"{words} style"}


def _folder_words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").replace(",", " ").split()) or name
