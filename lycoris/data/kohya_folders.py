"""The folders of kohya's trainers: ``img/10_sks dog`` holds images to train on, ``reg/1_dog`` prior images.

A folder's name is the number of repeats, an underscore, and the words for what the images show: the trigger and the
class noun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from lycoris.safety.file_names import check_folder_name

_PRIOR_FOLDER_PATTERN = re.compile(
    r"regs?|reg[_ -].*|regulari[sz]ation.*|class|class[_ -]images|prior.*", re.IGNORECASE
)
FALLBACK_NOUN = "subject"
"""The class noun where a folder's name has a trigger only."""
_NAME_PATTERN = re.compile(r"(\d{1,3})_(\S.*)")
_OPENING_PATTERN = re.compile(
    r"(?:an?|the)?\s*(?:photo|picture|image|painting|drawing|portrait)s?\s+of\s+", re.IGNORECASE
)
_ARTICLE_PATTERN = re.compile(r"(?:an?|the)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class KohyaFolder:
    """A folder of images and what its name says.

    Attributes:
        path: the folder.
        repeats: times that an epoch shows each image.
        words: trigger and class noun, or the class noun of prior images.
        prior: whether the images are prior images.
    """

    path: Path
    repeats: int
    words: str
    prior: bool

    @classmethod
    def parse(cls, path: Path) -> KohyaFolder | None:
        """Parse a folder's name; None if it has no number of repeats."""
        match = _NAME_PATTERN.fullmatch(path.resolve().name if path.name in ("", ".", "..") else path.name)
        if match is None or int(match[1]) == 0:
            return None
        is_prior = _PRIOR_FOLDER_PATTERN.fullmatch(path.absolute().parent.name) is not None
        return cls.named(path, match[2], int(match[1]), prior=is_prior)

    @classmethod
    def named(cls, path: Path, words: str, repeats: int = 1, *, prior: bool = False) -> KohyaFolder:
        """A folder with words that are given; "a photo of" and articles before them are dropped."""
        words = " ".join(words.replace(",", " ").split())
        words = _ARTICLE_PATTERN.sub("", _OPENING_PATTERN.sub("", words, count=1), count=1) or words
        return cls(path, repeats, words, prior)

    @property
    def trigger(self) -> str:
        """The first word."""
        return self.words.split()[0]

    @property
    def class_noun(self) -> str:
        """The other words."""
        return " ".join(self.words.split()[1:]) or FALLBACK_NOUN


def infer_kohya_entries(root: Path, images: Sequence[Path]) -> dict[str, dict[str, Any]] | None:
    """Infer the entries of concepts from kohya's folder names; None if a folder of images is named otherwise.

    Folders with the same words are one concept. Prior images belong to the concepts whose class noun they are named
    after, or to all concepts.

    Raises:
        InputError: all folders are of prior images.
    """
    parsed = [KohyaFolder.parse(folder) for folder in dict.fromkeys(image.parent for image in images)]
    folders = [folder for folder in parsed if folder is not None]
    if not folders or len(folders) < len(parsed):
        return None
    entries: dict[str, dict[str, Any]] = {}
    for folder in folders:
        if folder.prior:
            continue
        check_folder_name(f"Folder `{folder.path}`", folder.words)
        category = folder.path.resolve().parent.name or "pictures"
        entry = entries.setdefault(
            folder.words,
            {
                "category": category,
                "trigger": folder.trigger,
                "class_noun": folder.class_noun,
                "folders": {},
                "prior": {},
            },
        )
        entry["folders"][folder.path.relative_to(root).as_posix()] = folder.repeats
    if not entries:
        raise InputError(f"The data folder `{root}` holds prior images only: there is nothing to train on.")
    nouns = {entry["class_noun"].casefold() for entry in entries.values()}
    for folder in folders:
        words = folder.words.casefold()
        for entry in entries.values() if folder.prior else ():
            if words not in nouns or words == entry["class_noun"].casefold():
                entry["prior"][folder.path.relative_to(root).as_posix()] = folder.words
    return entries
