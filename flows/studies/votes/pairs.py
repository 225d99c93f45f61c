"""The pairs to vote on: two settings of a study, one concept, training seed, prompt and image seed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lycoris.analysis.text.formatting import join_names
from lycoris.errors import InputError
from lycoris.report.run.schema import AdapterRecord, read_study_record

STUDY_FILE = "study.json"


@dataclass(frozen=True)
class Side:
    """One side of a pair.

    Attributes:
        setting: algorithm, captions and checkpoint, in words.
        adapter: name of the adapter.
        image: its image.
    """

    setting: str
    adapter: str
    image: Path


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt and seed.

    Attributes:
        id: follows from the images that it shows.
        concept: name of the concept.
        prompt_type: of `lycoris.terms.PROMPT_TYPES`.
        prompt: the prompt.
        left, right: the sides, shuffled.
    """

    id: str
    concept: str
    prompt_type: str
    prompt: str
    left: Side
    right: Side


@dataclass(frozen=True)
class _Scene:
    """Everything that two images must share to be compared."""

    concept: str
    training_seed: int
    prompt_type: str
    prompt: str
    image_seed: int


class StudyPairs:
    """All pairs of a study, in an order that follows from a seed and the votes so far.

    Args:
        folder: of a finished study, with its `study.json`.
        seed: of the order and the sides.

    Attributes:
        settings: those that can be compared.

    Raises:
        InputError: there is no such study, or no two of its settings have images of one prompt and seed.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.seed = seed
        try:
            adapters = read_study_record(folder / STUDY_FILE)["adapters"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"`{folder}` must be the folder of a finished study, with `{STUDY_FILE}`: {error}"
            ) from error
        self._scenes: dict[tuple[str, str], list[tuple[_Scene, Side, Side]]] = {}
        images: dict[_Scene, list[Side]] = {}
        for adapter in adapters:
            for scene, side in _sides(adapter, folder):
                images.setdefault(scene, []).append(side)
        for scene, sides in images.items():
            for one, other in itertools.combinations(sorted(sides, key=lambda side: side.setting), 2):
                if one.setting != other.setting:
                    self._scenes.setdefault((one.setting, other.setting), []).append((scene, one, other))
        if not self._scenes:
            names = sorted({side.setting for sides in images.values() for side in sides})
            raise InputError(
                f"Study `{folder}` has nothing to compare: votes need two settings with images of one concept, seed "
                f"and prompt, but it has {join_names(f'`{name}`' for name in names) or 'no images'}."
            )
        self.settings = sorted({name for pair in self._scenes for name in pair})

    def __len__(self) -> int:
        """Number of pairs."""
        return sum(map(len, self._scenes.values()))

    def next_pair(self, shown: Sequence[Pair]) -> Pair | None:
        """Return the pair that follows those that were shown: of the settings compared least; None at the end.

        Args:
            shown: the pairs with an answer of this voter.
        """
        counts = Counter(tuple(sorted((pair.left.setting, pair.right.setting))) for pair in shown)
        answered = {pair.id for pair in shown}
        generator = np.random.default_rng([self.seed, len(shown)])
        for settings in sorted(self._scenes, key=lambda own: (counts[own], generator.random())):
            remaining = [pair for pair in map(self._pair, self._scenes[settings]) if pair.id not in answered]
            if remaining:
                return remaining[int(generator.integers(len(remaining)))]
        return None

    def find(self, pair_id: str) -> Pair | None:
        """Return the pair with an id; None if the study has no such pair (any more)."""
        if not hasattr(self, "_by_id"):
            self._by_id = {pair.id: pair for scenes in self._scenes.values() for pair in map(self._pair, scenes)}
        return self._by_id.get(pair_id)

    def _pair(self, entry: tuple[_Scene, Side, Side]) -> Pair:
        scene, one, other = entry
        digest = hashlib.sha256(json.dumps([*vars(scene).values(), one.adapter, other.adapter]).encode()).hexdigest()
        turned = np.random.default_rng([self.seed, int(digest[:8], 16)]).random() < 0.5
        left, right = (other, one) if turned else (one, other)
        return Pair(digest[:24], scene.concept, scene.prompt_type, scene.prompt, left, right)


def setting_name(adapter: AdapterRecord) -> str:
    """Return what distinguishes an adapter from others of its concept and seed."""
    parts = [adapter.get("algorithm") or adapter.get("label") or "", f"captions {adapter.get('captions')}"]
    return " · ".join([*parts, *([str(adapter["checkpoint"])] if adapter.get("checkpoint") else [])])


def _sides(adapter: AdapterRecord, folder: Path) -> list[tuple[_Scene, Side]]:
    sides = []
    for prompt_type, images in (adapter.get("drawings") or {}).items():
        for image in images:
            file = Path(str(image.get("image") or ""))
            file = file if file.is_absolute() else folder / file
            if image.get("image") and file.is_file():
                place = adapter["concept"], int(adapter["seed"]), prompt_type
                scene = _Scene(*place, str(image.get("prompt")), int(image.get("seed") or 0))
                sides.append((scene, Side(setting_name(adapter), str(adapter["name"]), file)))
    return sides
