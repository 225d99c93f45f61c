"""The small frozen records that tasks hand to each other: names, numbers and paths, never models."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where work is kept and shown.

    Attributes:
        store: root of the finished stages.
        progress: folder through which steps are shown, or None to show nothing.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: CPU threads of each process.
    """

    store: Path
    progress: Path | None = None
    device: str = "auto"
    threads: int = 1


def _plain(text: str) -> str:
    """A text of letters, digits and few signs; one that loses others keeps a hash to be told from its like."""
    plain = re.sub(r"[^\w .=+-]+", "-", text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Cell:
    """One adapter of a study: what it learns, how, from which captions, with which seed."""

    concept: str
    algorithm: str  # the label, such as "lora" or "lora rank=16"
    captions: str
    seed: int

    @property
    def label(self) -> str:
        return f"{self.concept} · {self.algorithm} · {self.captions} · seed {self.seed}"

    @property
    def name(self) -> str:
        """For files and run names, of which not every character is taken everywhere."""
        algorithm = self.algorithm.replace(" ", "-")
        return f"{_plain(self.concept)}-{_plain(algorithm)}-{self.captions}-{self.seed}"


@dataclass(frozen=True)
class Captioned:
    """A concept with its captions under each strategy.

    Attributes:
        name: of the concept; category, trigger, class_noun and description are its entry's.
        digest: of the concept's pictures and entry.
        pictures: file paths, in the order of the captions.
        captions: strategy -> one caption a picture.
        prompts: strategy -> prompt type -> prompts, each ``{"text", "evaluation", "seed", "group"}``.
        inherent: tags that `adjusted` leaves to the trigger, with the counts that decided.
        cached: whether the tags were there already.
        set_aside: path to what is wrong with it, of the concept's pictures that cannot be used.
    """

    name: str
    category: str
    trigger: str
    class_noun: str
    description: str
    digest: str
    pictures: tuple[Path, ...]
    captions: dict[str, tuple[str, ...]]
    prompts: dict[str, dict[str, tuple[dict[str, Any], ...]]]
    inherent: tuple[dict[str, Any], ...]
    cached: bool
    set_aside: dict[str, str]


@dataclass(frozen=True)
class Made:
    """A finished stage as the next one sees it."""

    key: str
    folder: Path
    cached: bool
    seconds: float
