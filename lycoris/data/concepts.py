"""Concepts: what to learn, from which images, and what to call it.

A data folder holds ``<category>/<class>/[<subclass>/]image`` and one file, ``concepts.yaml``:

    concepts:
      grumble: {category: movie_characters, trigger: ohw, class_noun: creature, description: purple bear}

A folder of photographs without that file works too: its class folders, or the folder itself, become concepts.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris.cache.integrity import file_digest
from lycoris.data.class_folders import infer_entries
from lycoris.data.concepts_file import (
    CONCEPTS_FILE,
    Subclass,
    optional_text,
    read_entries,
    read_subclasses,
    tag_list,
)
from lycoris.data.images import find_mask, list_images
from lycoris.errors import InputError, unknown_name_error

__all__ = ["CONCEPTS_FILE", "Concept", "ConceptImage", "Subclass", "images_digest", "load_concepts"]


@dataclass(frozen=True)
class ConceptImage:
    """One image of a concept; `relative_path` is its path in the data folder, with forward slashes."""

    path: Path
    relative_path: str
    subclass: str | None = None


@dataclass(frozen=True)
class Concept:
    """A class of images with its trigger.

    Attributes:
        name: name of the class and of its folder.
        category: name of the folder above.
        trigger: a rare token that stands for the concept.
        class_noun: what kind of thing it is.
        description: words a text encoder knows, in place of trigger and noun when texts are compared.
        inherent: tags that belong to the concept in addition to those that are detected; see `lycoris.captions`. None
            if the file does not list any.
        keep: tags that never count as inherent.
        subclasses: its variants.
        images: its images, sorted by path.
    """

    name: str
    category: str
    trigger: str
    class_noun: str
    description: str
    inherent: tuple[str, ...] | None
    keep: tuple[str, ...]
    subclasses: tuple[Subclass, ...]
    images: tuple[ConceptImage, ...]

    @property
    def full_name(self) -> str:
        """Trigger and class noun, "sks girl": what captions and prompts call it."""
        return f"{self.trigger} {self.class_noun}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """Every name of it, or of a variant, in captions and prompts; longer ones before their parts."""
        return (self.full_name, self.trigger, *(subclass.trigger for subclass in self.subclasses))


def load_concepts(
    root: Path,
    file: Path | None = None,
    names: Sequence[str] | None = None,
) -> list[Concept]:
    """Load the concepts of a data folder.

    Args:
        root: the data folder.
        file: the concepts file; defaults to ``concepts.yaml`` in `root`. If there is none, every class folder (or
            `root` itself, if the images are there) is a concept with a spare trigger, which is logged.
        names: which concepts; None for all.

    Returns:
        Concepts sorted by category and name.

    Raises:
        InputError: the folder or the file is wrong; the message says where and how.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"There is no data folder `{root}`.")
    path = Path(file) if file is not None else root / CONCEPTS_FILE
    if file is not None and not path.is_file():
        raise InputError(f"There is no concepts file `{path}`.")
    if path.is_file():
        entries = read_entries(path)
        folders = {name: root / entry["category"] / name for name, entry in entries.items()}
    else:
        entries, folders = infer_entries(root)
    for name in names or ():
        if name not in entries:
            raise unknown_name_error("concept", name, entries)
    selected = entries if names is None else dict.fromkeys(names)
    concepts = [_build_concept(root, folders[name], path, name, entries[name]) for name in selected]
    if names is None and path.is_file():
        _check_orphans(root, path, entries)
    return sorted(concepts, key=lambda concept: (concept.category, concept.name))


def images_digest(concept: Concept) -> str:
    """SHA-256 over the names and bytes of a concept's images and masks, in hexadecimal; captions do not count."""
    content = hashlib.sha256()
    for image in concept.images:
        content.update(f"\n{image.relative_path}\0{file_digest(image.path)}".encode())
        if mask := find_mask(image.path):
            content.update(f"\0{file_digest(mask)}".encode())
    return content.hexdigest()


def _build_concept(root: Path, folder: Path, path: Path, name: str, entry: Mapping[str, Any]) -> Concept:
    where = f"Concept `{name}` in `{path}`"
    if not folder.is_dir():
        raise InputError(f"{where} has no folder `{folder}`.")
    noun = entry["class_noun"].strip()
    description = optional_text(where, "description", entry.get("description")) or noun
    subclasses = read_subclasses(where, folder, entry.get("subclasses") or {}, description)
    images = _find_images(root, folder, where, {subclass.name for subclass in subclasses})
    if not images:
        raise InputError(f"The folder `{folder}` of concept `{name}` holds no images.")
    for subclass in subclasses:
        if not any(image.subclass == subclass.name for image in images):
            raise InputError(f"The folder `{folder / subclass.name}` of subclass `{subclass.name}` holds no images.")
    inherent = entry.get("inherent")
    return Concept(
        name=name,
        category=entry["category"],
        trigger=entry["trigger"].strip(),
        class_noun=noun,
        description=description,
        inherent=None if inherent is None else tag_list(where, "inherent", inherent),
        keep=tag_list(where, "keep", entry.get("keep") or []),
        subclasses=subclasses,
        images=tuple(images),
    )


def _find_images(root: Path, folder: Path, where: str, subclasses: set[str]) -> list[ConceptImage]:
    images = []
    for file in list_images(folder, recursive=True):
        parts = file.relative_to(folder).parts
        if len(parts) > 2:
            raise InputError(f"Image `{file}` is deeper than <category>/<class>/<subclass>/.")
        subclass = parts[0] if len(parts) == 2 else None
        if subclass is not None and subclass not in subclasses:
            raise InputError(
                f"{where} has no subclass `{subclass}`, but there are images in `{file.parent}`: add it under "
                "`subclasses` with its `trigger`."
            )
        images.append(ConceptImage(file.resolve(), file.relative_to(root).as_posix(), subclass))
    return images


def _check_orphans(root: Path, path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that no folder or image is silently ignored."""
    known = {(entry["category"], name) for name, entry in entries.items()}
    for folder in sorted(root.glob("*/*/")):
        parts = folder.relative_to(root).parts
        if any(part.startswith(".") for part in parts) or parts in known:
            continue
        near = difflib.get_close_matches(folder.name, [name for name in entries if name != folder.name], n=1)
        raise InputError(
            f"The class folder `{folder}` has no entry in `{path}`: add `{folder.name}` with its `trigger`, "
            f"`class_noun` and `category: {folder.parent.name}`" + (f", or is it `{near[0]}`?" if near else ".")
        )
    for folder in (root, *(each for each in sorted(root.glob("*/")) if not each.name.startswith("."))):
        for stray in list_images(folder):
            raise InputError(f"Image `{stray}` is in no class folder: move it to `<category>/<class>/`.")
