"""Features of image sets, and their file format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lycoris.data.prompt_spec import PromptSpec, prompts_are_known
from lycoris.errors import InputError


@dataclass(frozen=True)
class GeneratedImages:
    """Images of one prompt type and the prompts they were generated from, in the same order."""

    prompt_type: str
    images: Sequence[Image.Image]
    prompts: Sequence[PromptSpec]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The features of one set of images.

    Attributes:
        arrays: ``<kind>/<encoder>`` -> one row per image. The kind is ``image``, ``text`` (of the prompts), ``style``,
            ``requested`` or ``detected`` (0 or 1: tags that the prompt names, tags that the tagger detects), or the
            name of a metric with a network of its own.
        prompts: the prompt of each image; empty for a dataset.
    """

    arrays: Mapping[str, np.ndarray]
    prompts: tuple[PromptSpec, ...] = field(default=())

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    @property
    def has_prompts(self) -> bool:
        """Whether the prompt of every image is known."""
        return prompts_are_known(self.prompts)

    def encoder_names(self, feature_kind: str) -> list[str]:
        """Return the names of the encoders with features of this kind."""
        return [key.partition("/")[2] for key in self.arrays if key.startswith(f"{feature_kind}/")]

    def aligned_with(self, other: FeatureSet) -> FeatureSet | None:
        """Select the images with the prompts and seeds of another set, in its order; None if any is missing."""
        rows = {(prompt.text, prompt.seed): index for index, prompt in enumerate(self.prompts)}
        targets = [(prompt.text, prompt.seed) for prompt in other.prompts]
        if not targets or not other.has_prompts or len(rows) != len(self.prompts) or not rows.keys() >= set(targets):
            return None
        aligned = self.select([rows[target] for target in targets])
        prompts = (
            own if own.group == theirs.group else replace(own, group=theirs.group)
            for own, theirs in zip(aligned.prompts, other.prompts, strict=True)
        )
        return FeatureSet(aligned.arrays, tuple(prompts))

    def intersect(self, other: FeatureSet) -> tuple[FeatureSet, FeatureSet] | None:
        """Select the images of both sets with common prompts and seeds, in the same order; None if there are none."""
        theirs = {(prompt.text, prompt.seed) for prompt in other.prompts if prompt.text}
        own = self.select([row for row, prompt in enumerate(self.prompts) if (prompt.text, prompt.seed) in theirs])
        aligned = other.aligned_with(own)
        return None if aligned is None else (own, aligned)

    def select(self, rows: Sequence[int]) -> FeatureSet:
        """Select rows, in the given order."""
        if list(rows) == list(range(len(self))):
            return self
        return FeatureSet(
            {key: array[list(rows)] for key, array in self.arrays.items()},
            tuple(self.prompts[row] for row in rows) if self.prompts else (),
        )


def save_features(path: Path, features: Mapping[str, FeatureSet]) -> None:
    """Write the feature sets of several prompt types to one .safetensors file."""
    from safetensors.numpy import save_file

    arrays = {
        f"{name}/{key}": np.ascontiguousarray(array)
        for name, feature_set in features.items()
        for key, array in feature_set.arrays.items()
    }
    prompts = {name: [asdict(prompt) for prompt in feature_set.prompts] for name, feature_set in features.items()}
    save_file(arrays, path, metadata={"prompts": json.dumps(prompts)})


def load_features(path: Path) -> dict[str, FeatureSet]:
    """Read a file that `save_features` wrote.

    Raises:
        InputError: the file cannot be read, or is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            prompts: dict[str, list[dict[str, Any]]] = json.loads((file.metadata() or {})["prompts"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"File `{path}` must hold features, but could not be read as such: {error}") from error
    return {
        name: FeatureSet(
            {key.partition("/")[2]: array for key, array in arrays.items() if key.startswith(f"{name}/")},
            tuple(PromptSpec(**prompt) for prompt in own),
        )
        for name, own in prompts.items()
    }
