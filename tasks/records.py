"""The small frozen records that tasks hand to each other: names, numbers and paths, never models."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Eyes:
    """A tagger as it is opened, and the hash of all that its tags depend on.

    Attributes:
        source: as `lycoris.captions.open_tagger` takes it.
        digest: of its files, thresholds and vocabulary.
        thresholds: pairs of category and least confidence, over the tagger's own.
        vocabulary: a file of tags, for a text-image model.
    """

    source: str
    digest: str
    thresholds: tuple[tuple[str, float], ...] = ()
    vocabulary: Path | None = None


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
        """For files and run names."""
        return f"{self.concept}-{self.algorithm.replace(' ', '-')}-{self.captions}-{self.seed}"


@dataclass(frozen=True)
class Captioned:
    """A concept with its captions under each strategy.

    Attributes:
        name: of the concept; category, trigger, class_noun and description are its entry's.
        digest: of the concept's pictures.
        pictures: file paths, in the order of the captions.
        captions: strategy -> one caption a picture.
        prompts: strategy -> prompt type -> prompts, each ``{"text", "evaluation", "seed", "group"}``.
        inherent: tags that `adjusted` leaves to the trigger, with the counts that decided.
        cached: whether tags and sentences were there already.
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
