"""What the file of another trainer says, in the terms of an experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.config.imports.keys import Keys
from lycoris.data.kohya_folders import KohyaFolder
from lycoris.errors import InputError, nearest_path_hint

OPTIMIZERS: Mapping[str, str] = {
    "adamw": "adamw",
    "adamw8bit": "adamw-8bit",
    "bnbadamw8bit": "adamw-8bit",
    "adafactor": "adafactor",
    "prodigy": "prodigy",
    "lion": "lion",
    "adamwschedulefree": "schedule-free-adamw",
    "schedulefreeadamw": "schedule-free-adamw",
}
"""Letters and digits of another trainer's optimizer -> ours."""
SCHEDULES: Mapping[str, str] = {
    "constant": "constant",
    "constantwithwarmup": "constant",
    "cosine": "cosine",
    "cosinewithrestarts": "cosine",
    "linear": "linear",
}
ALGORITHMS: Mapping[str, str] = {
    "lora": "lora",
    "locon": "lora",
    "loha": "loha",
    "lokr": "lokr",
    "full": "full",
    "ia3": "ia3",
    "glora": "glora",
    "dylora": "dylora",
    "diagoft": "diag-oft",
    "oft": "diag-oft",
    "oft2": "diag-oft",
    "boft": "boft",
}


@dataclass
class ImportedConcept:
    """A concept of another trainer.

    Attributes:
        name: of the concept.
        trigger: the word that stands for it; empty if the file has none.
        class_noun: what it is; empty if the file does not say.
        folders: folder of images -> repeats.
        prior: folder of prior images -> the words for what they show.
    """

    name: str
    trigger: str = ""
    class_noun: str = ""
    folders: dict[Path, int] = field(default_factory=dict)
    prior: dict[Path, str] = field(default_factory=dict)


@dataclass
class Imported:
    """The content of another trainer's files.

    Attributes:
        trainer: its name.
        base: source of the base; empty if the files name none.
        adapter: options of the adapter.
        training: training settings.
        options: further options of the experiment.
        seed: of the training.
        name: of the experiment.
        concepts: its concepts.
        keys: of the files; those left over are reported.
        notes: what else the user should know.
        blocking: what the user has to do before the experiment runs.
    """

    trainer: str
    base: str = ""
    adapter: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    name: str = ""
    concepts: list[ImportedConcept] = field(default_factory=list)
    keys: list[Keys] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blocking: list[str] = field(default_factory=list)

    def add(self, words: str, name: str, folder: Path, repeats: int) -> None:
        """Add a folder of images under the words for what they show, trigger first; without words under a name."""
        parsed = KohyaFolder.named(folder, words)
        trigger, noun = (parsed.trigger, parsed.class_noun) if words.strip() else ("", "")
        key = parsed.words if words.strip() else name
        concept = next((one for one in self.concepts if one.name == key), None)
        if concept is None:
            concept = ImportedConcept(key, trigger, noun)
            self.concepts.append(concept)
        concept.folders[folder] = max(repeats, concept.folders.get(folder, 1))

    def add_prior(self, folder: Path, words: str) -> None:
        """Give a folder of prior images to the concepts of that class noun, or else to all."""
        named = [one for one in self.concepts if one.class_noun.casefold() == words.casefold()]
        for concept in named or self.concepts:
            concept.prior[folder] = words or concept.class_noun or "thing"


def take_algorithm(keys: Keys, name: str, value: str) -> str:
    """Translate the name of an algorithm; `lora`, with a report, for one that is not known."""
    known = ALGORITHMS.get(_letters(value))
    if known is None:
        keys.drop(name, value, "an algorithm that is not known here; `lora` is used", to_decide=True)
    return known or "lora"


def take_optimizer(keys: Keys, name: str, value: str | None, training: dict[str, Any]) -> None:
    """Translate the name of an optimizer into a training setting."""
    known = OPTIMIZERS.get(_letters(value or "adamw"))
    if known is None:
        keys.drop(name, value, "an optimizer that is not known here; `adamw` is used", to_decide=True)
    training["optimizer"] = known or "adamw"


def take_schedule(keys: Keys, name: str, value: str | None, training: dict[str, Any]) -> None:
    """Translate the name of a learning-rate schedule into a training setting."""
    known = SCHEDULES.get(_letters(value or "constant"))
    if known is None:
        keys.drop(name, value, "a schedule that is not known here; `constant` is used")
    training["schedule"] = known or "constant"


def report_mask_folder(keys: Keys, name: str) -> None:
    """Report a folder of masks: here a mask is a file beside its image."""
    if (folder := keys.take(name)) is not None:
        keys.drop(
            name,
            folder,
            "masks are read beside the images: copy each as `name.mask.png` and set `training.mask: file`",
            to_decide=True,
        )


def find_folder(keys: Keys, name: str, value: object, beside: Sequence[Path]) -> Path:
    """Find a folder that a key names, from the working directory or beside the file.

    Raises:
        InputError: it does not exist.
    """
    return _find(keys, name, value, beside, is_folder=True)


def find_file(keys: Keys, name: str, value: object, beside: Sequence[Path]) -> Path:
    """Find a file that a key names, from the working directory or beside the file.

    Raises:
        InputError: it does not exist.
    """
    return _find(keys, name, value, beside, is_folder=False)


def _find(keys: Keys, name: str, value: object, beside: Sequence[Path], *, is_folder: bool) -> Path:
    for start in (Path(), *beside):
        path = start / Path(str(value)).expanduser()
        if path.is_dir() if is_folder else path.is_file():
            return path.absolute()
    kind = "folder" if is_folder else "file"
    raise InputError(
        f"Key `{keys.label}{name}` names the {kind} `{value}`, which does not exist."
        + nearest_path_hint(beside[0] / Path(str(value)) if beside else str(value))
    )


def set_known(target: dict[str, Any], **values: Any) -> None:
    """Set the values that are not None."""
    target.update({name: value for name, value in values.items() if value is not None})


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).casefold())
