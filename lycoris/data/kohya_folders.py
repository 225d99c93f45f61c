"""The folders of kohya's trainers: ``img/10_sks dog`` holds images to train on, ``reg/1_dog`` prior images.

A folder's name is the number of repeats, an underscore, and the words for what the images show: the trigger and the
class noun.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lycoris.data.folders import absolute_path
from lycoris.errors import InputError
from lycoris.safety.file_names import check_folder_name

_PRIOR_FOLDER_PATTERN = re.compile(
    r"regs?|reg[_ -].*|regulari[sz]ation.*|class|class[_ -]images|prior.*", re.IGNORECASE
)
_IMAGES_FOLDER_PATTERN = re.compile(r"imgs?|images?|train(?:[_ -]?data)?", re.IGNORECASE)
"""Folders around those of the images: with one of these names, or that of prior images, no other layout is meant."""
FALLBACK_NOUN = "subject"
"""The class noun where a folder's name has a trigger only."""
_NAME_PATTERN = re.compile(r"(\d{1,3})_(\S.*)")
_NUMBER_PATTERN = re.compile(r"\d+(?:_.*)?")
_OPENING_PATTERN = re.compile(
    r"(?:an?|the)?\s*(?:photo|picture|image|painting|drawing|portrait)s?\s+of\s+", re.IGNORECASE
)
_ARTICLE_PATTERN = re.compile(r"(?:an?|the)\s+", re.IGNORECASE)


logger = logging.getLogger(__name__)


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
        match = _NAME_PATTERN.fullmatch(absolute_path(path).name)
        if match is None or int(match[1]) == 0:
            return None
        is_prior = _PRIOR_FOLDER_PATTERN.fullmatch(absolute_path(path).parent.name) is not None
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
    """Infer the entries of concepts from kohya's folder names; None if they are not named so.

    Folders with the same words are one concept. Prior images belong to the concepts whose class noun they are named
    after, or to all concepts. In `img` and `reg` a folder that is named otherwise is not used, and logged; elsewhere
    one such folder means that none is named for kohya's trainers, which is logged as well.

    Raises:
        InputError: all folders are of prior images, or a folder in `img` has a number and no repeats or no words.
    """
    parsed = {folder: _parse_nearest(folder, root) for folder in dict.fromkeys(image.parent for image in images)}
    folders = [folder for folder in parsed.values() if folder is not None]
    others = [folder for folder, own in parsed.items() if own is None]
    for other in others:
        if _is_marked(other) and _NUMBER_PATTERN.fullmatch(other.name):
            raise InputError(
                f"Folder `{other}` must be named `<repeats>_<trigger> <class noun>` with 1 to 999 repeats, as for "
                "kohya's trainers."
            )
    if not folders:
        return None
    if others and not any(map(_is_marked, parsed)):
        text = "`%s` is named as for kohya's trainers, but `%s` is not: no name is read as repeats and trigger."
        logger.info(text, folders[0].path, others[0])
        return None
    for other in others:
        text = "`%s` is not named `<repeats>_<words>`: its images are not used, as in kohya's trainers."
        logger.info(text, other)
    entries: dict[str, dict[str, Any]] = {}
    for folder in folders:
        if folder.prior:
            continue
        check_folder_name(f"Folder `{folder.path}`", folder.words)
        category = absolute_path(folder.path).parent.name or "pictures"
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
        also = f"`{others[0]}` is not named `<repeats>_<trigger> <class noun>`" if others else "nothing else"
        raise InputError(f"The data folder `{root}` holds prior images only ({also}): there is nothing to train on.")
    nouns = {entry["class_noun"].casefold() for entry in entries.values()}
    for folder in folders:
        words = folder.words.casefold()
        for entry in entries.values() if folder.prior else ():
            if words not in nouns or words == entry["class_noun"].casefold():
                entry["prior"][folder.path.relative_to(root).as_posix()] = folder.words
    return entries


def _parse_nearest(folder: Path, root: Path) -> KohyaFolder | None:
    """Parse the name of a folder, or of the nearest one above it in `img` or `reg`."""
    above = [each for each in folder.parents if each.is_relative_to(root) and each != root]
    for each in (folder, *above):
        parsed = KohyaFolder.parse(each)
        if parsed is not None and (each == folder or _is_marked(each)):
            return replace(parsed, path=folder)
    return None


def _is_marked(folder: Path) -> bool:
    """Whether a folder is in one that is named as for kohya's trainers."""
    name = absolute_path(folder).parent.name.strip()
    return any(pattern.fullmatch(name) for pattern in (_IMAGES_FOLDER_PATTERN, _PRIOR_FOLDER_PATTERN))
