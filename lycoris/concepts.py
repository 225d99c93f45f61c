"""Concepts: what is to be learned, from which pictures, and what to call it.

A data folder holds ``<category>/<class>/[<subclass>/]picture`` and one file, ``concepts.yaml``:

    concepts:
      grumble: {category: movie_characters, trigger: ohw, class_noun: creature, description: purple bear}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Protocol

import yaml

from lycoris.errors import InputError, unknown
from lycoris.images import list_images

FILE = "concepts.yaml"
_FIELDS = ("category", "trigger", "class_noun", "description", "inherent", "keep", "subclasses")


class TokenizerLike(Protocol):
    """What is asked of a tokenizer."""

    def tokenize(self, text: str) -> list[str]: ...


@dataclass(frozen=True)
class Picture:
    """One picture of a concept; `relative` is its path in the data folder, with forward slashes."""

    path: Path
    relative: str
    subclass: str | None = None


@dataclass(frozen=True)
class Subclass:
    """A variant of a concept, such as an outfit, with the words that follow the class noun in captions."""

    name: str
    trigger: str
    description: str


@dataclass(frozen=True)
class Concept:
    """A class of pictures with its trigger.

    Attributes:
        name: of the class and of its folder.
        category: of the class, the folder above.
        trigger: a rare token that stands for the concept.
        class_noun: what kind of thing it is.
        description: words a text encoder knows, in place of trigger and noun when texts are compared.
        inherent: tags that belong to the concept, or None to find them; see `lycoris.captions`.
        keep: tags that are never taken for inherent.
        subclasses: its variants.
        pictures: sorted by path.
    """

    name: str
    category: str
    trigger: str
    class_noun: str
    description: str
    inherent: tuple[str, ...] | None
    keep: tuple[str, ...]
    subclasses: tuple[Subclass, ...]
    pictures: tuple[Picture, ...]


def read_concepts(
    root: Path,
    file: Path | None = None,
    names: Sequence[str] | None = None,
    tokenizer: TokenizerLike | None = None,
    notice: Callable[[str], None] | None = None,
) -> list[Concept]:
    """The concepts of a data folder.

    Args:
        root: the data folder.
        file: what describes them; ``concepts.yaml`` in `root` by default. Where there is none at all, every
            class folder is a concept with a spare trigger, which `notice` is told.
        names: which ones; None for all.
        tokenizer: of the base, against which triggers are held: one that is no single token is noticed.
        notice: called with what the user should know.

    Returns:
        Concepts sorted by category and name.

    Raises:
        InputError: the folder or the file is wrong; the message says where and how.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"There is no data folder `{root}`.")
    tell = notice or (lambda _: None)
    path = Path(file) if file is not None else root / FILE
    if file is not None and not path.is_file():
        raise InputError(f"There is no concepts file `{path}`.")
    entries = _entries(path) if path.is_file() else _guessed(root, tell)
    if names is not None:
        for name in names:
            if name not in entries:
                raise unknown("concept", name, entries)
        wanted = {name: entries[name] for name in names}
    else:
        wanted = entries
    concepts = [_concept(root, path, name, entry) for name, entry in wanted.items()]
    _distinct_triggers(path, entries)
    if names is None and path.is_file():
        _no_orphans(root, path, entries)
    for concept in concepts:
        if tokenizer is not None and len(pieces := tokenizer.tokenize(concept.trigger)) > 1:
            tell(f"Trigger `{concept.trigger}` of `{concept.name}` is {len(pieces)} tokens of this base, not one.")
    return sorted(concepts, key=lambda concept: (concept.category, concept.name))


def concept_digest(concept: Concept) -> str:
    """SHA-256 over one concept's own entry and the names and bytes of its pictures, in hexadecimal."""
    entry = {
        name: getattr(concept, name)
        for name in ("name", "category", "trigger", "class_noun", "description", "inherent", "keep")
    }
    entry["subclasses"] = [[each.name, each.trigger, each.description] for each in concept.subclasses]
    whole = hashlib.sha256(json.dumps(entry, sort_keys=True, ensure_ascii=True).encode())
    for picture in concept.pictures:
        with open(picture.path, "rb") as stream:
            whole.update(f"\n{picture.relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    return whole.hexdigest()


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"The concepts file `{path}` is not readable YAML: {error}") from error
    entries = content.get("concepts") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"The concepts file `{path}` must hold `concepts:` with an entry for each class.")
    for name, entry in entries.items():
        where = f"Concept `{name}` in `{path}`"
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise InputError(f"{where} must be a name followed by `trigger`, `class_noun`, `category` ...")
        for field in entry:
            if field not in _FIELDS:
                raise InputError(f"{where}: {unknown('field', field, _FIELDS)}")
        for field in ("trigger", "class_noun", "category"):
            value = entry.get(field)
            if not isinstance(value, str) or not value.strip():
                raise InputError(
                    f"{where} has no {field.replace('_', ' ')}: add `{field}: ...`."
                    + (" A trigger is a rare word, such as `sks`." if field == "trigger" else "")
                )
        _inside(where, name)
        _inside(where, entry["category"])
    return entries


def _guessed(root: Path, tell: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """An entry for each class folder of a folder of photographs."""
    folders = sorted({path.parent for path in list_images(root, recursive=True)})
    classes: dict[str, str] = {}
    for folder in folders:
        parts = folder.relative_to(root).parts
        if len(parts) < 2:
            raise InputError(
                f"Pictures must lie in `{root}/<category>/<class>/`, but there are some in `{folder}`. "
                f"Move them, for example to `{root}/objects/mug/`."
            )
        if classes.setdefault(parts[1], parts[0]) != parts[0]:
            raise InputError(f"Two classes of `{root}` are called `{parts[1]}`: rename one folder.")
    if not classes:
        raise InputError(f"The data folder `{root}` holds no pictures (<category>/<class>/picture).")
    from lycoris.pocket.vocabulary import SPARE_TRIGGERS

    if len(classes) > len(SPARE_TRIGGERS):
        raise InputError(f"`{root}` has {len(classes)} classes; write a `{FILE}` that gives each its trigger.")
    taken: dict[str, str] = {}
    for name in sorted(classes):
        start = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        free = (SPARE_TRIGGERS[(start + step) % len(SPARE_TRIGGERS)] for step in range(len(SPARE_TRIGGERS)))
        taken[name] = next(trigger for trigger in free if trigger not in taken.values())
    pairs = ", ".join(f"{name}: {trigger}" for name, trigger in taken.items())
    tell(f"`{root}` has no {FILE}; triggers were chosen for you ({pairs}).")
    return {
        name: {
            "category": category,
            "trigger": taken[name],
            "class_noun": name.replace("_", " ").replace("-", " "),
        }
        for name, category in classes.items()
    }


def _concept(root: Path, path: Path, name: str, entry: Mapping[str, Any]) -> Concept:
    where = f"Concept `{name}` in `{path}`"
    folder = root / entry["category"] / name
    if not folder.is_dir():
        raise InputError(f"{where} has no folder `{folder}`.")
    subclasses = _subclasses(where, folder, entry.get("subclasses") or {})
    known = {each.name for each in subclasses}
    pictures = []
    for file in list_images(folder, recursive=True):
        parts = file.relative_to(folder).parts
        if len(parts) > 2:
            raise InputError(f"Picture `{file}` lies deeper than <category>/<class>/<subclass>/.")
        subclass = parts[0] if len(parts) == 2 else None
        if known and subclass is not None and subclass not in known:
            raise InputError(f"{where}: {unknown('subclass folder', subclass, known)}")
        pictures.append(Picture(file.resolve(), file.relative_to(root).as_posix(), subclass))
    if not pictures:
        raise InputError(f"The folder `{folder}` of concept `{name}` holds no pictures.")
    inherent = entry.get("inherent")
    noun = entry["class_noun"].strip()
    return Concept(
        name=name,
        category=entry["category"],
        trigger=entry["trigger"].strip(),
        class_noun=noun,
        description=str(entry.get("description") or noun).strip(),
        inherent=None if inherent is None else _tags(where, "inherent", inherent),
        keep=_tags(where, "keep", entry.get("keep") or []),
        subclasses=subclasses,
        pictures=tuple(pictures),
    )


def _subclasses(where: str, folder: Path, given: Any) -> tuple[Subclass, ...]:
    if not isinstance(given, dict):
        raise InputError(f"{where}: `subclasses` must be names, each with `trigger` and `description`.")
    subclasses = []
    for name, entry in given.items():
        _inside(where, name)
        if not isinstance(entry, dict) or not str(entry.get("trigger") or "").strip():
            raise InputError(f"{where}: subclass `{name}` has no trigger.")
        if not (folder / name).is_dir():
            raise InputError(f"{where}: subclass `{name}` has no folder `{folder / name}`.")
        trigger = str(entry["trigger"]).strip()
        subclasses.append(Subclass(str(name), trigger, str(entry.get("description") or trigger).strip()))
    return tuple(subclasses)


def _tags(where: str, field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise InputError(f"{where}: `{field}` must be a list of tags.")
    return tuple(value)


def _inside(where: str, name: object) -> None:
    """A name that becomes a folder must stay one, on every system."""
    text = str(name)
    if (
        not text.strip()
        or text in (".", "..")
        or any(character in text for character in '/\\\0:*?"<>|')
        or any(ord(character) < 32 for character in text)
        or PureWindowsPath(text).is_reserved()
    ):
        raise InputError(f"{where}: `{text!r}` cannot be the name of a folder.")


def _distinct_triggers(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    owners: dict[str, str] = {}
    for name, entry in entries.items():
        trigger = entry["trigger"].strip()
        if trigger in owners:
            raise InputError(f"Concepts `{owners[trigger]}` and `{name}` in `{path}` share the trigger `{trigger}`.")
        owners[trigger] = name


def _no_orphans(root: Path, path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    known = {(entry["category"], name) for name, entry in entries.items()}
    for folder in sorted(root.glob("*/*/")):
        relative = folder.relative_to(root)
        if folder.is_dir() and not any(part.startswith(".") for part in relative.parts) and relative.parts not in known:
            raise InputError(
                f"The class folder `{folder}` has no entry in `{path}`: add `{folder.name}` with its `trigger`, "
                f"`class_noun` and `category: {folder.parent.name}`."
            )
