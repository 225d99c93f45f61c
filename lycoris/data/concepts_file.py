"""The file `concepts.yaml`: entries, and what each field of an entry must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.file_names import check_folder_name, is_printable
from lycoris.safety.yaml_loading import read_yaml

CONCEPTS_FILE = "concepts.yaml"
_ENTRY_FIELDS = (
    *("category", "trigger", "class_noun", "description", "inherent", "keep", "subclasses"),
    *("folders", "repeats", "prior"),
)
_SUBCLASS_FIELDS = ("trigger", "description")


@dataclass(frozen=True)
class Subclass:
    """A variant of a concept, such as an outfit.

    Attributes:
        name: name of its folder.
        trigger: words that follow the concept's trigger and class noun in captions, as in "a sks girl, red robe".
        description: stands for all of that when texts are compared, "anime girl in a red robe".
    """

    name: str
    trigger: str
    description: str


def read_entries(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read the entries of a concepts file, and check their required fields and triggers.

    A process parses a file once as long as it is unchanged.

    Raises:
        InputError: the file is not readable, or an entry is wrong; the message says which and how.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"The concepts file `{path}` is not readable YAML: {error}") from error
    return _parse_entries(text, path)


@lru_cache(maxsize=8)
def _parse_entries(text: str, path: Path) -> Mapping[str, Mapping[str, Any]]:
    content = read_yaml(text, f"The concepts file `{path}`")
    entries = content.get("concepts") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"The concepts file `{path}` must hold `concepts:` with an entry for each class.")
    for name, entry in entries.items():
        _check_entry(f"Concept `{name}` in `{path}`", name, entry)
    check_triggers(path, entries)
    return entries


def read_folders(where: str, name: str, entry: Mapping[str, Any]) -> dict[str, int]:
    """Read the folders of a concept's images, relative to the data folder -> how often an epoch shows each image.

    ``folders`` is a path or maps paths to repeats; by default it is ``<category>/<name>`` with ``repeats``.

    Raises:
        InputError: a path leads out of the data folder, or a number is not at least 1.
    """
    default = entry.get("repeats", 1)
    folders = entry.get("folders", f"{entry['category']}/{name}")
    folders = {folders: default} if isinstance(folders, str) else folders
    if not isinstance(folders, Mapping) or not folders:
        raise InputError(f"{where}: `folders` must be a path, or paths with their repeats, but got `{folders!r}`.")
    for folder, repeats in folders.items():
        _check_inside(where, "folders", folder)
        if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
            raise InputError(f"{where}: `repeats` must be a whole number from 1, but got `{repeats!r}`.")
    return dict(folders)


def read_prior(where: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Read the folders of a concept's prior images, relative to the data folder -> the words for what they show.

    ``prior`` is a path or maps paths to words; by default these are the class noun.

    Raises:
        InputError: a path leads out of the data folder, or the words are not a text.
    """
    prior = entry.get("prior") or {}
    prior = {prior: entry["class_noun"]} if isinstance(prior, str) else prior
    if not isinstance(prior, Mapping):
        raise InputError(f"{where}: `prior` must be a path, or paths with words for their images, but got `{prior!r}`.")
    for folder, words in prior.items():
        _check_inside(where, "prior", folder)
        if not isinstance(words, str) or not words.strip():
            raise InputError(f"{where}: `prior` must map `{folder}` to words for its images, but got `{words!r}`.")
    return dict(prior)


def _check_inside(where: str, field: str, folder: object) -> None:
    parts = PurePosixPath(folder).parts if isinstance(folder, str) else ("..",)
    if ".." in parts or PurePosixPath(str(folder)).is_absolute():
        raise InputError(f"{where}: `{field}` must be folders inside the data folder, but got `{folder}`.")


def read_subclasses(where: str, folders: Sequence[Path], entries: Any, description: str) -> tuple[Subclass, ...]:
    """Read the subclasses of a concept.

    Args:
        where: the concept, for error messages.
        folders: its folders, the first of which errors name.
        entries: the value of `subclasses`.
        description: the concept's.

    Raises:
        InputError: an entry is wrong, has no folder, or shares its trigger with another.
    """
    if not isinstance(entries, dict):
        raise InputError(f"{where}: `subclasses` must be names, each with `trigger` and `description`.")
    subclasses: dict[str, Subclass] = {}
    for name, entry in entries.items():
        check_folder_name(where, name)
        subclass = f"{where}: subclass `{name}`"
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise InputError(f"{subclass} must be a name followed by `trigger` and `description`.")
        for field in entry:
            if field not in _SUBCLASS_FIELDS:
                raise InputError(f"{subclass}: {unknown_name_error('field', field, _SUBCLASS_FIELDS)}")
        trigger = optional_text(subclass, "trigger", entry.get("trigger"))
        if not trigger:
            raise InputError(f"{subclass} has no trigger: add `trigger: ...`, the words for it in captions.")
        _check_phrase(subclass, "trigger", trigger)
        for other in subclasses.values():
            if other.trigger.casefold() == trigger.casefold():
                raise InputError(f"{where}: subclasses `{other.name}` and `{name}` share the trigger `{trigger}`.")
        if not any((folder / name).is_dir() for folder in folders):
            raise InputError(f"{subclass} has no folder `{folders[0] / name}`.")
        text = optional_text(subclass, "description", entry.get("description")) or f"{description}, {trigger}"
        subclasses[name] = Subclass(name, trigger, text)
    return tuple(subclasses.values())


def optional_text(where: str, field: str, value: Any) -> str:
    """Check that a field is a text or absent, and strip it.

    Raises:
        InputError: it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: `{field}` must be a text, but got `{value}`.")
    return (value or "").strip()


def tag_list(where: str, field: str, value: Any) -> tuple[str, ...]:
    """Check that a field is a list of tags.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise InputError(f"{where}: `{field}` must be a list of tags.")
    return tuple(value)


def _check_entry(where: str, name: object, entry: object) -> None:
    if not isinstance(name, str) or not isinstance(entry, dict):
        raise InputError(f"{where} must be a name followed by `trigger`, `class_noun`, `category` ...")
    for field in entry:
        if field not in _ENTRY_FIELDS:
            raise InputError(f"{where}: {unknown_name_error('field', field, _ENTRY_FIELDS)}")
    for field in ("trigger", "class_noun", "category"):
        value = entry.get(field)
        if not isinstance(value, str) or not value.strip():
            raise InputError(
                f"{where} has no {field.replace('_', ' ')}: add `{field}: ...`."
                + (" A trigger is a rare word, such as `sks`." if field == "trigger" else "")
            )
    check_folder_name(where, name)
    check_folder_name(where, entry["category"])
    _check_phrase(where, "trigger", entry["trigger"])
    _check_phrase(where, "class_noun", entry["class_noun"])


def _check_phrase(where: str, field: str, text: str) -> None:
    """Names have no commas, which separate the tags of a caption, and no line breaks."""
    if "," in text or not is_printable(text.strip()):
        raise InputError(f"{where}: `{field}` must be words without commas or line breaks, but got `{text!r}`.")


def check_triggers(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that no trigger occurs in another concept's names; tokenizers ignore case.

    Raises:
        InputError: one does.
    """
    names_by_word: dict[str, list[tuple[str, str, str]]] = {}
    for name, entry in entries.items():
        names = [("trigger", entry["trigger"]), ("class noun", entry["class_noun"])]
        subclasses = entry.get("subclasses")
        for subclass in subclasses.values() if isinstance(subclasses, dict) else ():
            trigger = str(subclass.get("trigger") or "") if isinstance(subclass, dict) else ""
            names.append(("subclass's trigger", trigger))
        for kind, words in names:
            for word in words.casefold().split():
                names_by_word.setdefault(word, []).append((name, kind, words.strip()))
    for name, entry in entries.items():
        words_of_trigger = entry["trigger"].casefold().split()
        for other, kind, words in names_by_word.get(words_of_trigger[0], ()):
            if other == name or not _contains(words.casefold().split(), words_of_trigger):
                continue
            if kind == "trigger" and words.casefold().split() == words_of_trigger:
                raise InputError(f"Concepts `{name}` and `{other}` in `{path}` share the trigger `{words}`.")
            raise InputError(
                f"Trigger `{entry['trigger'].strip()}` of `{name}` in `{path}` occurs in the {kind} `{words}` of "
                f"`{other}`: a caption of one would also name the other."
            )


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[start : start + len(part)]) == list(part) for start in range(len(words) - len(part) + 1))
