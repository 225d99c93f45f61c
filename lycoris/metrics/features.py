"""What the encoders saw, computed once per (encoder, set of images) and kept in one file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lycoris.encoders import Encoder, StyleEncoder
from lycoris.errors import InputError
from lycoris.metrics.table import needs_style


@runtime_checkable
class PromptLike(Protocol):
    """What is asked of a prompt; see `Condition`."""

    @property
    def text(self) -> str: ...
    @property
    def evaluation(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def group(self) -> int: ...


@runtime_checkable
class TaggerLike(Protocol):
    """What is asked of a tagger: its tags with their categories, and the tags of images with confidence."""

    @property
    def name(self) -> str: ...
    @property
    def categories(self) -> Mapping[str, str]: ...
    def tags(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, float]]: ...


@runtime_checkable
class RaterLike(Protocol):
    """What is asked of a rater: the metric it serves, and rows of numbers for images; see `lycoris.metrics.raters`."""

    @property
    def metric(self) -> str: ...
    @property
    def name(self) -> str: ...
    def rows(self, images: Sequence[Image.Image], seen: Mapping[str, np.ndarray]) -> np.ndarray: ...


@dataclass(frozen=True)
class Condition:
    """What an image was drawn from.

    Attributes:
        text: the prompt.
        evaluation: the prompt with trigger and noun replaced by words that describe the concept.
        seed: of the initial noise.
        group: which situation or caption it belongs to.
    """

    text: str
    evaluation: str
    seed: int
    group: int = 0


@dataclass(frozen=True)
class Drawings:
    """Images of one prompt type and the prompts they were drawn from, in the same order."""

    kind: str
    images: Sequence[Image.Image]
    prompts: Sequence[PromptLike]


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
    prompts: tuple[Condition, ...] = field(default=())

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    def encoders(self, what: str) -> list[str]:
        """Names of the encoders that have features of this sort."""
        return [key.partition("/")[2] for key in self.arrays if key.startswith(f"{what}/")]

    def paired_with(self, other: FeatureSet) -> FeatureSet | None:
        """These features in the order of the other's prompts and seeds; ``None`` where one has no partner."""
        own = {(prompt.text, prompt.seed): index for index, prompt in enumerate(self.prompts)}
        wanted = [(prompt.text, prompt.seed) for prompt in other.prompts]
        if not wanted or len(own) != len(self.prompts) or not own.keys() >= set(wanted):
            return None
        paired = self.taken([own[condition] for condition in wanted])
        prompts = (
            replace(prompt, group=each.group) for prompt, each in zip(paired.prompts, other.prompts, strict=True)
        )
        return FeatureSet(paired.arrays, tuple(prompts))

    def common_with(self, other: FeatureSet) -> tuple[FeatureSet, FeatureSet] | None:
        """The images of common prompts and seeds of both, in the same order; ``None`` where there is none."""
        known = {(prompt.text, prompt.seed) for prompt in other.prompts}
        own = self.taken([row for row, prompt in enumerate(self.prompts) if (prompt.text, prompt.seed) in known])
        partner = other.paired_with(own)
        return None if partner is None else (own, partner)

    def taken(self, rows: Sequence[int]) -> FeatureSet:
        """These rows, in this order."""
        return FeatureSet(
            {key: array[list(rows)] for key, array in self.arrays.items()},
            tuple(self.prompts[row] for row in rows) if self.prompts else (),
        )


def encode(
    drawings: Mapping[str, Drawings | FeatureSet],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    tagger: TaggerLike | None = None,
    raters: Sequence[RaterLike] = (),
    mode: str = "resize",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, FeatureSet]:
    """The features of every prompt type's drawings, as `compare` wants them.

    Args:
        drawings: prompt type -> drawings; what is encoded already passes through.
        encoders: image and text-image encoders, of unlike names.
        style_encoder: used where a metric needs it: for ``style`` prompts and for concepts that are styles.
        category: of the concept.
        tagger: gives attribute recall and precision; without one there are none.
        raters: networks of single metrics, such as those of image quality.
        mode: ``resize``, ``crop`` or ``padding``.
        progress: called with (sets done, sets in all).

    Raises:
        InputError: images and prompts are of unlike number, or two encoders share a name.
    """
    result: dict[str, FeatureSet] = {}
    for done, (kind, given) in enumerate(drawings.items(), start=1):
        if isinstance(given, FeatureSet):
            result[kind] = given
        else:
            style = style_encoder if needs_style(kind, category) else None
            result[kind] = _encode(given.images, encoders, style, given.prompts, tagger, raters, mode)
        if progress:
            progress(done, len(drawings))
    return result


def encode_references(
    references: Sequence[Image.Image] | FeatureSet,
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None = None,
    *,
    category: str,
    mode: str = "resize",
) -> FeatureSet:
    """The features of the dataset's pictures; arguments as for `encode`."""
    if isinstance(references, FeatureSet):
        return references
    style = style_encoder if needs_style("references", category) else None
    return _encode(references, encoders, style, (), None, (), mode)


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
            tuple(Condition(**prompt) for prompt in own),
        )
        for kind, own in prompts.items()
    }


def wanted_tags(text: str, categories: Mapping[str, str]) -> set[str]:
    """The tags that a text names: those whose words stand in it, as whole words and in order."""
    words = " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))
    return {tag for tag in categories if f" {_words(tag)} " in f" {words} "}


def _words(tag: str) -> str:
    return " ".join(re.findall(r"\w+", tag.lower().replace("_", " ")))


def _encode(
    images: Sequence[Image.Image],
    encoders: Sequence[Encoder],
    style_encoder: StyleEncoder | None,
    prompts: Sequence[PromptLike],
    tagger: TaggerLike | None,
    raters: Sequence[RaterLike],
    mode: str,
) -> FeatureSet:
    if prompts and len(prompts) != len(images):
        raise InputError(f"There must be one prompt an image, but got {len(prompts)} for {len(images)} images.")
    names = [encoder.name for encoder in encoders]
    if len(set(names)) != len(names):
        raise InputError(f"Argument `encoders` must have unlike names, but got {', '.join(names)}.")
    arrays: dict[str, np.ndarray] = {}
    for encoder in encoders:
        arrays[f"image/{encoder.name}"] = encoder.image_features(images, mode).numpy()
        if prompts and encoder.reads_text:
            texts = [prompt.evaluation for prompt in prompts]
            arrays[f"text/{encoder.name}"] = encoder.text_features(texts).numpy()
    if style_encoder is not None:
        arrays[f"style/{style_encoder.name}"] = style_encoder.style_features(images, mode).numpy()
    if tagger is not None and prompts:
        wanted, found = _tags(images, prompts, tagger)
        arrays |= {f"wanted/{tagger.name}": wanted, f"found/{tagger.name}": found}
    seen = {encoder.name: arrays[f"image/{encoder.name}"] for encoder in encoders}
    arrays |= {f"{rater.metric}/{rater.name}": rater.rows(images, seen) for rater in raters}
    conditions = tuple(Condition(p.text, p.evaluation, int(p.seed), int(p.group)) for p in prompts)
    return FeatureSet(arrays, conditions)


def _tags(
    images: Sequence[Image.Image], prompts: Sequence[PromptLike], tagger: TaggerLike
) -> tuple[np.ndarray, np.ndarray]:
    """What prompts name and what images show, as 0 and 1; of the latter only tags of a category asked for."""
    categories = tagger.categories
    column = {tag: index for index, tag in enumerate(sorted(categories))}
    wanted = np.zeros((len(images), len(column)), dtype=np.uint8)
    found = np.zeros_like(wanted)
    for row, (prompt, seen) in enumerate(zip(prompts, tagger.tags(images), strict=True)):
        named = wanted_tags(prompt.evaluation, categories)
        kinds = {categories[tag] for tag in named}
        wanted[row, [column[tag] for tag in named]] = 1
        found[row, [column[tag] for tag in seen if tag in column and categories[tag] in kinds]] = 1
    return wanted, found
