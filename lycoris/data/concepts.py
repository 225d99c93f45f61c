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
    check_triggers,
    optional_text,
    read_entries,
    read_folders,
    read_prior,
    read_subclasses,
    tag_list,
)
from lycoris.data.images import find_mask, list_images
from lycoris.errors import InputError, missing_path_error, unknown_name_error
from lycoris.safety.links import forbidden_target

__all__ = [
    "CONCEPTS_FILE",
    "Concept",
    "ConceptImage",
    "PriorImage",
    "Subclass",
    "images_digest",
    "load_concepts",
    "prior_digest",
]


@dataclass(frozen=True)
class ConceptImage:
    """One image of a concept; `relative_path` is its path in the data folder, with forward slashes.

    A link has the path of the link, so that captions and masks are those beside it.
    """

    path: Path
    relative_path: str
    subclass: str | None = None
    repeats: int = 1

    @property
    def root(self) -> Path:
        """The data folder."""
        return self.path.parents[len(Path(self.relative_path).parts) - 1]


@dataclass(frozen=True)
class PriorImage:
    """An image of a concept's class in general, and the words for what it shows."""

    path: Path
    relative_path: str
    words: str


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
        prior_images: images of its class in general, which preserve what the base knows of the class.
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
    prior_images: tuple[PriorImage, ...] = ()

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
        raise missing_path_error("data folder", root)
    path = Path(file) if file is not None else root / CONCEPTS_FILE
    if file is not None and not path.is_file():
        raise missing_path_error("concepts file", path)
    if path.is_file():
        entries = read_entries(path)
    else:
        entries = infer_entries(root)
        check_triggers(root, entries)
    folders = _ConceptFolders.read(root, path, entries)
    for name in names or ():
        if name not in entries:
            raise unknown_name_error("concept", name, entries)
    selected = entries if names is None else dict.fromkeys(names)
    concepts = [_build_concept(folders, path, name, entries[name]) for name in selected]
    if names is None and path.is_file() and not all("folders" in entry for entry in entries.values()):
        _check_orphans(folders, path, entries)
    return sorted(concepts, key=lambda concept: (concept.category, concept.name))


@dataclass(frozen=True)
class _ConceptFolders:
    """Where the images of each concept are.

    Attributes:
        root: the data folder.
        images: concept -> folder -> repeats.
        prior: concept -> folder of prior images -> the words for what they show.
    """

    root: Path
    images: Mapping[str, Mapping[Path, int]]
    prior: Mapping[str, Mapping[Path, str]]

    @classmethod
    def read(cls, root: Path, path: Path, entries: Mapping[str, Mapping[str, Any]]) -> _ConceptFolders:
        """Read the folders of entries."""
        where = {name: f"Concept `{name}` in `{path}`" for name in entries}
        images = {name: read_folders(where[name], name, entry) for name, entry in entries.items()}
        prior = {name: read_prior(where[name], entry) for name, entry in entries.items()}
        return cls(
            root,
            {name: {root / folder: repeats for folder, repeats in own.items()} for name, own in images.items()},
            {name: {root / folder: words for folder, words in own.items()} for name, own in prior.items()},
        )

    def known(self) -> set[Path]:
        """Every folder of images."""
        return {folder for own in (*self.images.values(), *self.prior.values()) for folder in own}

    def files(self, folder: Path) -> list[Path]:
        """The images of a folder and those below it, without those in other folders that are named themselves."""
        inner = [other for other in self.known() if other != folder and other.is_relative_to(folder)]
        files = list_images(folder, recursive=True)
        for file in files:
            if (mask := find_mask(file)) and (target := forbidden_target(mask, self.root, file)):
                raise InputError(f"Mask `{mask}` must not be a link out of the data folder, but leads to `{target}`.")
        return [file for file in files if not any(file.is_relative_to(other) for other in inner)]


def images_digest(concept: Concept) -> str:
    """SHA-256 over the names and bytes of a concept's images and masks, in hexadecimal; captions do not count."""
    return _digest([(image.relative_path, image.path) for image in concept.images])


def prior_digest(concept: Concept) -> str:
    """The same over its prior images."""
    return _digest([(image.relative_path, image.path) for image in concept.prior_images])


def _digest(images: Sequence[tuple[str, Path]]) -> str:
    content = hashlib.sha256()
    for relative_path, path in images:
        content.update(f"\n{relative_path}\0{file_digest(path)}".encode())
        if mask := find_mask(path):
            content.update(f"\0{file_digest(mask)}".encode())
    return content.hexdigest()


def _build_concept(folders: _ConceptFolders, path: Path, name: str, entry: Mapping[str, Any]) -> Concept:
    where = f"Concept `{name}` in `{path}`"
    own = list(folders.images[name])
    for folder in (*own, *folders.prior[name]):
        if not folder.is_dir():
            raise InputError(f"{where} has no folder `{folder}`.")
    noun = entry["class_noun"].strip()
    description = optional_text(where, "description", entry.get("description")) or noun
    subclasses = read_subclasses(where, own, entry.get("subclasses") or {}, description)
    images = _find_images(folders, name, where, {subclass.name for subclass in subclasses})
    prior = _find_prior_images(folders, name)
    for subclass in subclasses:
        if not any(image.subclass == subclass.name for image in images):
            raise InputError(f"The folder `{own[0] / subclass.name}` of subclass `{subclass.name}` holds no images.")
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
        prior_images=tuple(prior),
    )


def _find_images(folders: _ConceptFolders, name: str, where: str, subclasses: set[str]) -> list[ConceptImage]:
    images = []
    for folder, repeats in folders.images[name].items():
        files = folders.files(folder)
        if not files:
            raise InputError(f"The folder `{folder}` of concept `{name}` holds no images.")
        for file in files:
            parts = file.relative_to(folder).parts
            if len(parts) > 2:
                raise InputError(f"Image `{file}` is deeper than <category>/<class>/<subclass>/.")
            subclass = parts[0] if len(parts) == 2 else None
            if subclass is not None and subclass not in subclasses:
                raise InputError(
                    f"{where} has no subclass `{subclass}`, but there are images in `{file.parent}`: add it under "
                    "`subclasses` with its `trigger`."
                )
            relative = file.relative_to(folders.root).as_posix()
            images.append(ConceptImage(file.absolute(), relative, subclass, repeats))
    return sorted(images, key=lambda image: Path(image.relative_path))


def _find_prior_images(folders: _ConceptFolders, name: str) -> list[PriorImage]:
    images = []
    for folder, words in folders.prior[name].items():
        files = folders.files(folder)
        if not files:
            raise InputError(f"The folder `{folder}` of prior images of `{name}` holds no images.")
        images += [PriorImage(file.absolute(), file.relative_to(folders.root).as_posix(), words) for file in files]
    return images


def _check_orphans(folders: _ConceptFolders, path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that no folder or image is silently ignored."""
    root, known = folders.root, folders.known()
    for folder in sorted(root.glob("*/*/")):
        parts = folder.relative_to(root).parts
        if any(part.startswith(".") for part in parts) or any(
            folder.is_relative_to(other) or other.is_relative_to(folder) for other in known
        ):
            continue
        near = difflib.get_close_matches(folder.name, [name for name in entries if name != folder.name], n=1)
        raise InputError(
            f"The class folder `{folder}` has no entry in `{path}`: add `{folder.name}` with its `trigger`, "
            f"`class_noun` and `category: {folder.parent.name}`" + (f", or is it `{near[0]}`?" if near else ".")
        )
    for folder in (root, *(each for each in sorted(root.glob("*/")) if not each.name.startswith("."))):
        for stray in () if any(folder.is_relative_to(other) for other in known) else list_images(folder):
            raise InputError(f"Image `{stray}` is in no class folder: move it to `<category>/<class>/`.")
