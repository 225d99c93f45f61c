"""Concepts: what is to be learned, from which pictures, and what to call it.

A data folder holds ``<category>/<class>/[<subclass>/]picture`` and one file, ``concepts.yaml``:

    concepts:
      grumble: {category: movie_characters, trigger: ohw, class_noun: creature, description: purple bear}

A folder of photographs without that file will do: its class folders, or the folder itself, become concepts.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris.cache.integrity import file_digest
from lycoris.data.images import find_mask, list_images
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.file_names import check_folder_name, is_printable
from lycoris.safety.yaml_loading import read_yaml

logger = logging.getLogger(__name__)

CONCEPTS_FILE = "concepts.yaml"
_ENTRY_FIELDS = ("category", "trigger", "class_noun", "description", "inherent", "keep", "subclasses")


@dataclass(frozen=True)
class ConceptImage:
    """One picture of a concept; `relative` is its path in the data folder, with forward slashes."""

    path: Path
    relative_path: str
    subclass: str | None = None


@dataclass(frozen=True)
class Subclass:
    """A variant of a concept, such as an outfit.

    Attributes:
        name: of its folder.
        trigger: words that follow the concept's trigger and class noun in captions, as in "a sks girl, red robe".
        description: what stands for all of that when texts are compared, "anime girl in a red robe".
    """

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
        inherent: tags that belong to the concept besides those that are found; see `lycoris.captions`. None
            where the file does not say.
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
    images: tuple[ConceptImage, ...]

    @property
    def full_name(self) -> str:
        """Trigger and class noun, "sks girl": what captions and prompts call it."""
        return f"{self.trigger} {self.class_noun}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """All that stands for it, or for a variant of it, in captions and prompts; longer ones before their parts."""
        return (self.full_name, self.trigger, *(subclass.trigger for subclass in self.subclasses))


def load_concepts(
    root: Path,
    file: Path | None = None,
    names: Sequence[str] | None = None,
) -> list[Concept]:
    """The concepts of a data folder.

    Args:
        root: the data folder.
        file: what describes them; ``concepts.yaml`` in `root` by default. Where there is none at all, every
            class folder (or `root` itself, if the pictures lie there) is a concept with a spare trigger, which
            is logged.
        names: which ones; None for all.

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
        entries = _read_entries(path)
        folders = {name: root / entry["category"] / name for name, entry in entries.items()}
        _check_triggers(path, entries)
    else:
        entries, folders = _infer_entries(root)
    for name in names or ():
        if name not in entries:
            raise unknown_name_error("concept", name, entries)
    wanted = entries if names is None else dict.fromkeys(names)
    concepts = [_build_concept(root, folders[name], path, name, entries[name]) for name in wanted]
    if names is None and path.is_file():
        _check_orphans(root, path, entries)
    return sorted(concepts, key=lambda concept: (concept.category, concept.name))


def images_digest(concept: Concept) -> str:
    """SHA-256 over the names and bytes of a concept's pictures and masks, in hexadecimal; words do not count."""
    whole = hashlib.sha256()
    for picture in concept.images:
        whole.update(f"\n{picture.relative_path}\0{file_digest(picture.path)}".encode())
        if mask := find_mask(picture.path):
            whole.update(f"\0{file_digest(mask)}".encode())
    return whole.hexdigest()


def _read_entries(path: Path) -> dict[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"The concepts file `{path}` is not readable YAML: {error}") from error
    content = read_yaml(text, f"The concepts file `{path}`")
    entries = content.get("concepts") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"The concepts file `{path}` must hold `concepts:` with an entry for each class.")
    for name, entry in entries.items():
        where = f"Concept `{name}` in `{path}`"
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
    return entries


def _infer_entries(root: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """An entry and a folder for each class of a folder of photographs.

    Pictures lie in ``category/class/`` (and may lie in subclass folders), in ``class/``, or in the folder itself;
    names that the layout lacks are those of the folders above.
    """
    folders: dict[str, Path] = {}
    variants: dict[str, set[str]] = {}
    depths = set()
    for file in list_images(root, recursive=True):
        parts = file.relative_to(root).parts[:-1]
        depths.add(min(len(parts), 2))
        if len(depths) > 1:
            raise InputError(
                f"Pictures must all lie alike, as in `{root}/<category>/<class>/`, but `{file}` does not lie as "
                "the others do: move it, or name its folder as the data folder."
            )
        folder = root.joinpath(*parts[:2])
        name = parts[min(len(parts), 2) - 1] if parts else root.resolve().name
        if folders.setdefault(name, folder) != folder:
            raise InputError(f"Two classes of `{root}` are called `{name}`: rename one folder.")
        for part in (name, *parts[2:3]):
            check_folder_name(f"Folder `{folder}`", part)
        variants.setdefault(name, set()).update(parts[2:3])
    if not folders:
        raise InputError(f"The data folder `{root}` holds no pictures (<category>/<class>/picture).")
    for folder in sorted(root.glob("*/*/") if depths == {2} else root.glob("*/") if depths == {1} else ()):
        if folder.name not in folders and not folder.name.startswith("."):
            raise InputError(f"The class folder `{folder}` holds no pictures.")
    triggers = spare_triggers(sorted(folders))
    pairs = ", ".join(f"{name} is `{trigger}`" for name, trigger in triggers.items())
    logger.info("`%s` has no %s; triggers were chosen: %s.", root, CONCEPTS_FILE, pairs)
    entries = {
        name: {
            "category": folder.resolve().parent.name or "pictures",
            "trigger": triggers[name],
            **_infer_wording(name, folder.resolve().parent.name),
            "subclasses": {
                each: {"trigger": _folder_words(each), "description": f"{_folder_words(name)}, {_folder_words(each)}"}
                for each in sorted(variants[name])
            },
        }
        for name, folder in folders.items()
    }
    return entries, folders


def spare_triggers(names: Sequence[str]) -> dict[str, str]:
    """A rare token for each name: the one its hash points at, or the next free one.

    A name's token depends on the other names only where two hashes point at one token.

    Raises:
        InputError: there are more names than tokens.
    """
    from lycoris.pocket.world.vocabulary import SPARE_TRIGGERS

    if len(names) > len(SPARE_TRIGGERS):
        raise InputError(
            f"There are {len(names)} classes, but only {len(SPARE_TRIGGERS)} spare triggers: write a `{CONCEPTS_FILE}` that "  # noqa: E501
            "gives each class its own."
        )
    taken: dict[str, str] = {}
    for name in names:
        start = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        free = (SPARE_TRIGGERS[(start + step) % len(SPARE_TRIGGERS)] for step in range(len(SPARE_TRIGGERS)))
        taken[name] = next(trigger for trigger in free if trigger not in taken.values())
    return taken


def _infer_wording(name: str, category: str) -> dict[str, str]:
    """Class noun and description from the names of folders; in the category of styles a class is one."""
    words = _folder_words(name)
    if category != "styles":
        return {"class_noun": words}
    return {"class_noun": "style", "description": words if words.casefold().endswith("style") else f"{words} style"}


def _folder_words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").replace(",", " ").split()) or name


def _build_concept(root: Path, folder: Path, path: Path, name: str, entry: Mapping[str, Any]) -> Concept:
    where = f"Concept `{name}` in `{path}`"
    if not folder.is_dir():
        raise InputError(f"{where} has no folder `{folder}`.")
    noun = entry["class_noun"].strip()
    description = _optional_text(where, "description", entry.get("description")) or noun
    subclasses = _read_subclasses(where, folder, entry.get("subclasses") or {}, description)
    known = {each.name for each in subclasses}
    pictures = []
    for file in list_images(folder, recursive=True):
        parts = file.relative_to(folder).parts
        if len(parts) > 2:
            raise InputError(f"Picture `{file}` lies deeper than <category>/<class>/<subclass>/.")
        subclass = parts[0] if len(parts) == 2 else None
        if subclass is not None and subclass not in known:
            raise InputError(
                f"{where} has no subclass `{subclass}`, but there are pictures in `{file.parent}`: add it under "
                "`subclasses` with its `trigger`."
            )
        pictures.append(ConceptImage(file.resolve(), file.relative_to(root).as_posix(), subclass))
    if not pictures:
        raise InputError(f"The folder `{folder}` of concept `{name}` holds no pictures.")
    for each in subclasses:
        if not any(picture.subclass == each.name for picture in pictures):
            raise InputError(f"The folder `{folder / each.name}` of subclass `{each.name}` holds no pictures.")
    inherent = entry.get("inherent")
    return Concept(
        name=name,
        category=entry["category"],
        trigger=entry["trigger"].strip(),
        class_noun=noun,
        description=description,
        inherent=None if inherent is None else _tag_list(where, "inherent", inherent),
        keep=_tag_list(where, "keep", entry.get("keep") or []),
        subclasses=subclasses,
        images=tuple(pictures),
    )


def _read_subclasses(where: str, folder: Path, entries: Any, description: str) -> tuple[Subclass, ...]:
    if not isinstance(entries, dict):
        raise InputError(f"{where}: `subclasses` must be names, each with `trigger` and `description`.")
    subclasses: dict[str, Subclass] = {}
    for name, entry in entries.items():
        check_folder_name(where, name)
        own = f"{where}: subclass `{name}`"
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise InputError(f"{own} must be a name followed by `trigger` and `description`.")
        for field in entry:
            if field not in ("trigger", "description"):
                raise InputError(f"{own}: {unknown_name_error('field', field, ('trigger', 'description'))}")
        trigger = _optional_text(own, "trigger", entry.get("trigger"))
        if not trigger:
            raise InputError(f"{own} has no trigger: add `trigger: ...`, the words for it in captions.")
        _check_phrase(own, "trigger", trigger)
        for other in subclasses.values():
            if other.trigger.casefold() == trigger.casefold():
                raise InputError(f"{where}: subclasses `{other.name}` and `{name}` share the trigger `{trigger}`.")
        if not (folder / name).is_dir():
            raise InputError(f"{own} has no folder `{folder / name}`.")
        told = _optional_text(own, "description", entry.get("description")) or f"{description}, {trigger}"
        subclasses[name] = Subclass(name, trigger, told)
    return tuple(subclasses.values())


def _optional_text(where: str, field: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: `{field}` must be a text, but got `{value}`.")
    return (value or "").strip()


def _check_phrase(where: str, field: str, text: str) -> None:
    """Commas part the tags of a caption, so a name of the concept has none; nor has it line breaks."""
    if "," in text or not is_printable(text.strip()):
        raise InputError(f"{where}: `{field}` must be words without commas or line breaks, but got `{text!r}`.")


def _tag_list(where: str, field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise InputError(f"{where}: `{field}` must be a list of tags.")
    return tuple(value)


def _check_triggers(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """No trigger may stand in what another concept is called; tokenizers do not tell upper from lower case."""
    called: dict[str, list[tuple[str, str, str]]] = {}
    for name, entry in entries.items():
        own = [("trigger", entry["trigger"]), ("class noun", entry["class_noun"])]
        subclasses = entry.get("subclasses")
        for each in subclasses.values() if isinstance(subclasses, dict) else ():
            own.append(("subclass's trigger", str(each.get("trigger") or "") if isinstance(each, dict) else ""))
        for kind, words in own:
            for word in words.casefold().split():
                called.setdefault(word, []).append((name, kind, words.strip()))
    for name, entry in entries.items():
        trigger = entry["trigger"].casefold().split()
        for other, kind, words in called.get(trigger[0], ()):
            if other == name or not _contains(words.casefold().split(), trigger):
                continue
            if kind == "trigger" and words.casefold().split() == trigger:
                raise InputError(f"Concepts `{name}` and `{other}` in `{path}` share the trigger `{words}`.")
            raise InputError(
                f"Trigger `{entry['trigger'].strip()}` of `{name}` in `{path}` stands in the {kind} `{words}` of "
                f"`{other}`: a caption of one would speak of the other."
            )


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[place : place + len(part)]) == list(part) for place in range(len(words) - len(part) + 1))


def _check_orphans(root: Path, path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Nothing in the folder may be left out in silence."""
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
    for place in (root, *(each for each in sorted(root.glob("*/")) if not each.name.startswith("."))):
        for stray in list_images(place):
            raise InputError(f"Picture `{stray}` lies in no class folder: move it to `<category>/<class>/`.")
