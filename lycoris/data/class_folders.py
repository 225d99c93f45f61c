"""Concepts inferred from a folder of photographs that has no concepts file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris.data.concepts_file import CONCEPTS_FILE
from lycoris.data.folders import absolute_path
from lycoris.data.images import IMAGE_SUFFIXES, list_images
from lycoris.data.kohya_folders import infer_kohya_entries
from lycoris.errors import InputError
from lycoris.safety.file_names import check_folder_name

logger = logging.getLogger(__name__)


def infer_entries(root: Path) -> dict[str, dict[str, Any]]:
    """Infer an entry for each class.

    Images are in ``category/class/`` (and may be in subclass folders), in ``class/``, or in the folder itself; names
    that the layout lacks are those of the folders above. Folders named as kohya's trainers expect are read as such, see
    `lycoris.data.kohya_folders`.

    Raises:
        InputError: there are no images, they are at different depths, or two classes share a name.
    """
    images = list_images(root, recursive=True)
    if (entries := infer_kohya_entries(root, images)) is not None:
        _log_kohya(root, entries)
        return entries
    folders: dict[str, Path] = {}
    variants: dict[str, set[str]] = {}
    depths = set()
    for file in images:
        parts = file.relative_to(root).parts[:-1]
        depths.add(min(len(parts), 2))
        if len(depths) > 1:
            raise InputError(
                f"All images must be at the same depth, as in `{root}/<category>/<class>/`, but `{file}` is at another "
                "one: move it, or pass its folder as the data folder."
            )
        folder = root.joinpath(*parts[:2])
        name = parts[min(len(parts), 2) - 1] if parts else absolute_path(root).name
        if folders.setdefault(name, folder) != folder:
            raise InputError(f"Two classes of `{root}` are named `{name}`: rename one folder.")
        for part in (name, *parts[2:3]):
            check_folder_name(f"Folder `{folder}`", part)
        variants.setdefault(name, set()).update(parts[2:3])
    if not folders:
        raise InputError(f"The data folder `{root}` holds no images (<category>/<class>/image){_other_files(root)}.")
    for folder in sorted(root.glob("*/*/") if depths == {2} else root.glob("*/") if depths == {1} else ()):
        if folder.name not in folders and not folder.name.startswith(".") and not folder.is_symlink():
            raise InputError(f"The class folder `{folder}` holds no images{_other_files(folder)}.")
    triggers = spare_triggers(sorted(folders))
    pairs = ", ".join(f"{name} is `{trigger}`" for name, trigger in triggers.items())
    logger.info("`%s` has no %s; triggers were chosen: %s.", root.absolute(), CONCEPTS_FILE, pairs)
    return {
        name: {
            "folders": {folder.relative_to(root).as_posix(): 1},
            "category": absolute_path(folder).parent.name or "pictures",
            "trigger": triggers[name],
            **_infer_wording(name, absolute_path(folder).parent.name),
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


def _log_kohya(root: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Say how kohya's folder names were read."""
    for name, entry in entries.items():
        folders = ", ".join(f"`{folder}` ({repeats} repeats)" for folder, repeats in entry["folders"].items())
        prior = ", ".join(f"`{folder}`" for folder in entry["prior"])
        logger.info(
            "`%s` is named as for kohya's trainers: concept `%s` with trigger `%s` and class noun `%s` from %s; %s.",
            root.absolute(),
            name,
            entry["trigger"],
            entry["class_noun"],
            folders,
            f"prior images from {prior}" if prior else "no prior images (reg/1_<class noun>)",
        )


def _other_files(folder: Path) -> str:
    """The start of a list of the files that are no images."""
    others = sorted(path.name for path in folder.rglob("*") if path.is_file())
    if not others:
        return ""
    return f", but {len(others)} other files, such as `{others[0]}`: formats are {', '.join(sorted(IMAGE_SUFFIXES))}"


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
