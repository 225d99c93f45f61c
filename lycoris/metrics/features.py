"""Features of a set of images, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lycoris.data.prompt_spec import PromptSpec
from lycoris.errors import InputError


@dataclass(frozen=True)
class GeneratedImages:
    """Images of one prompt type and the prompts they were drawn from, in the same order."""

    prompt_type: str
    images: Sequence[Image.Image]
    prompts: Sequence[PromptSpec]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The features of one set of images.

    Attributes:
        arrays: ``<what>/<encoder>`` -> one row an image; what is ``image``, ``text`` (of the prompts),
            ``style``, ``wanted`` or ``found`` (0 and 1, tags named by the prompt and found in the image), or the
            name of a metric whose rater saw the images.
        prompts: what each image was drawn from; empty for a dataset.
    """

    arrays: Mapping[str, np.ndarray]
    prompts: tuple[PromptSpec, ...] = field(default=())

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    def encoder_names(self, feature_kind: str) -> list[str]:
        """Names of the encoders that have features of this sort."""
        return [key.partition("/")[2] for key in self.arrays if key.startswith(f"{feature_kind}/")]

    def aligned_with(self, other: FeatureSet) -> FeatureSet | None:
        """These features in the order of the other's prompts and seeds; ``None`` where one has no partner."""
        own = {(prompt.text, prompt.seed): index for index, prompt in enumerate(self.prompts)}
        wanted = [(prompt.text, prompt.seed) for prompt in other.prompts]
        if not wanted or len(own) != len(self.prompts) or not own.keys() >= set(wanted):
            return None
        paired = self.select([own[condition] for condition in wanted])
        prompts = (
            prompt if prompt.group == each.group else replace(prompt, group=each.group)
            for prompt, each in zip(paired.prompts, other.prompts, strict=True)
        )
        return FeatureSet(paired.arrays, tuple(prompts))

    def intersect(self, other: FeatureSet) -> tuple[FeatureSet, FeatureSet] | None:
        """The images of common prompts and seeds of both, in the same order; ``None`` where there is none."""
        known = {(prompt.text, prompt.seed) for prompt in other.prompts}
        own = self.select([row for row, prompt in enumerate(self.prompts) if (prompt.text, prompt.seed) in known])
        partner = other.aligned_with(own)
        return None if partner is None else (own, partner)

    def select(self, rows: Sequence[int]) -> FeatureSet:
        """These rows, in this order."""
        if list(rows) == list(range(len(self))):
            return self
        return FeatureSet(
            {key: array[list(rows)] for key, array in self.arrays.items()},
            tuple(self.prompts[row] for row in rows) if self.prompts else (),
        )


def save_features(path: Path, features: Mapping[str, FeatureSet]) -> None:
    """Write sets of features, by prompt type, as one .safetensors file."""
    from safetensors.numpy import save_file

    arrays = {
        f"{kind}/{key}": np.ascontiguousarray(array)
        for kind, each in features.items()
        for key, array in each.arrays.items()
    }
    prompts = {kind: [asdict(prompt) for prompt in each.prompts] for kind, each in features.items()}
    save_file(arrays, path, metadata={"prompts": json.dumps(prompts)})


def load_features(path: Path) -> dict[str, FeatureSet]:
    """What `save_features` wrote.

    Raises:
        InputError: the file is none of its files.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            prompts: dict[str, list[dict[str, Any]]] = json.loads((file.metadata() or {})["prompts"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"File `{path}` must hold features, but could not be read as such: {error}") from error
    return {
        kind: FeatureSet(
            {key.partition("/")[2]: array for key, array in arrays.items() if key.startswith(f"{kind}/")},
            tuple(PromptSpec(**prompt) for prompt in own),
        )
        for kind, own in prompts.items()
    }
