"""The small frozen records that tasks hand to each other: names, numbers and paths, never models."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.runtime.progress import DaskRelay


@dataclass(frozen=True)
class RunContext:
    """Where work is kept and shown.

    Attributes:
        store: root of the finished stages.
        progress: through which steps are shown, or None to show nothing.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: CPU threads of each process.
        share: address of the store through which machines without a common disk share finished stages.
        slot: name of the Prefect limit that a step on a GPU takes a slot of, where the server has it.
    """

    store: Path
    progress: Path | DaskRelay | None = None
    device: str = "auto"
    threads: int = 1
    artifact_store: str | None = None
    gpu_limit: str | None = None


def _safe_file_name(text: str) -> str:
    """A text of letters, digits and few signs; one that loses others keeps a hash to be told from its like."""
    plain = re.sub(r"[^\w .=+-]+", "-", text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class TaggerRef:
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
class RunSpec:
    """One adapter of a study: what it learns, how, from which captions, with which seed; and where its training stood.

    Attributes:
        algorithm: the label, such as ``"lora"`` or ``"lora rank=16"``.
        checkpoint: epochs or steps after which it is taken; None at the end.
        unit: ``"epoch"`` or ``"step"``, of the checkpoint.
    """

    concept: str
    algorithm: str
    strategy: str
    seed: int
    checkpoint: int | None = None
    checkpoint_unit: str = "epoch"

    @property
    def label(self) -> str:
        text = f"{self.concept} · {self.algorithm} · {self.strategy} · seed {self.seed}"
        return text if self.checkpoint is None else f"{text} · {self.checkpoint_unit} {self.checkpoint}"

    @property
    def name(self) -> str:
        """For files and run names, of which not every character is taken everywhere."""
        algorithm = self.algorithm.replace(" ", "-")
        text = f"{_safe_file_name(self.concept)}-{_safe_file_name(algorithm)}-{self.strategy}-{self.seed}"
        return text if self.checkpoint is None else f"{text}-{self.checkpoint_unit}-{self.checkpoint}"


@dataclass(frozen=True)
class CaptionedConcept:
    """A concept with its captions under each strategy.

    Attributes:
        name: of the concept; category, trigger, class_noun and description are its entry's.
        names: all that stands for the concept in prompts.
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
    names: tuple[str, ...]
    images_digest: str
    images: tuple[Path, ...]
    captions: dict[str, tuple[str, ...]]
    prompts: dict[str, dict[str, tuple[dict[str, Any], ...]]]
    concept_tags: tuple[dict[str, Any], ...]
    cached: bool
    skipped_images: dict[str, str]


@dataclass(frozen=True)
class Artifact:
    """A finished stage as the next one sees it."""

    key: str
    folder: Path
    cached: bool
    seconds: float


@dataclass(frozen=True)
class TrainedAdapter:
    """A finished training as the next steps see it.

    Attributes:
        end: the stage of the adapter at the end.
        checkpoints: count of epochs or steps to the stage of the adapter then.
    """

    final: Artifact
    checkpoints: Mapping[int, Artifact] = field(default_factory=dict)

    def at_checkpoint(self, checkpoint: int | None) -> Artifact:
        """The stage of a checkpoint, None for the end."""
        return self.final if checkpoint is None else self.checkpoints[checkpoint]
