"""The strength to load an adapter with: 1, unless fidelity and controllability together are better at another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lycoris.analysis.text.formatting import counted, join_names
from lycoris.errors import InputError
from lycoris.metrics.features import FeatureSet
from lycoris.metrics.registry import METRICS, smallest_difference
from lycoris.terms import HEADLINE_SCORES

DECIDING_DIMENSIONS = ("fidelity", "controllability")
"""The dimensions that a strength trades against each other."""
STRENGTH_RULE = (
    "Of the strengths tried, the one with the highest mean of fidelity (trigger alone) and controllability (new "
    "situations), each scaled to 0 to 1 between the lowest and the highest value among the strengths and the base, and "
    "averaged over the encoders; a dimension whose values differ too little to matter is not stretched. In brackets: "
    "where the best strength lies in 95 % of resamples of prompts and seeds. If that includes 1, the strength as "
    "trained, it is 1."
)
RESAMPLES = 2000

Features = Mapping[str, FeatureSet]
"""Prompt type -> features of its images."""


@dataclass(frozen=True)
class StrengthScore:
    """What an adapter scores at a strength; 0 is the base.

    Attributes:
        strength: factor of the adapter's changes.
        score: mean of the scaled dimensions, in [0, 1].
        dimensions: dimension -> its headline score, averaged over the encoders.
    """

    strength: float
    score: float
    dimensions: dict[str, float]


@dataclass(frozen=True)
class StrengthChoice:
    """The recommended strength, and what it was chosen from.

    Attributes:
        value: the strength.
        low: lower end of its 95 % interval over prompts and seeds.
        high: upper end.
        images: generated images at each strength.
        points: the strengths tried, in ascending order, the base first.
    """

    value: float
    low: float
    high: float
    images: int
    points: tuple[StrengthScore, ...]

    @property
    def text(self) -> str:
        """Such as ``0.8 [0.6, 1]``."""
        return f"{self.value:g} [{self.low:g}, {self.high:g}]"

    @property
    def origin(self) -> str:
        """Where the recommendation comes from, in a line."""
        tried = join_names([f"{point.strength:g}" for point in self.points if point.strength])
        names = join_names([name for name in DECIDING_DIMENSIONS if name in self.points[0].dimensions])
        chosen = "best" if self.best == self.value else f"not separated from {self.best:g}, which is best,"
        return (
            f"{chosen} in {names} of {tried}, {counted(self.images, 'image')} each; "
            f"95 % interval {self.low:g} to {self.high:g}{'' if self.value == 1 else '; 1 is worse'}"
        )

    @property
    def best(self) -> float:
        """The strength with the highest score; of equal ones, the one nearest to 1."""
        tried = [point for point in self.points if point.strength]
        return max(tried, key=lambda point: (round(point.score, 9), -abs(point.strength - 1))).strength


def choose_strength(
    references: FeatureSet, base: Features, adapters: Mapping[float, Features], *, seed: int = 0
) -> StrengthChoice:
    """Choose the strength of an adapter by `STRENGTH_RULE`.

    Args:
        references: features of the dataset's images.
        base: features of the base's images; those of other prompts and seeds are not used.
        adapters: strength -> features of the images at that strength, of the same prompts and seeds in the same order.
        seed: of the resampling.

    Raises:
        InputError: there is no strength, the base lacks an image, or no dimension can be scored.
    """
    if not adapters:
        raise InputError("Argument `adapters` must have a strength, but is empty.")
    strengths = sorted(adapters)
    sets = [_aligned(base, adapters[strengths[0]]), *(adapters[strength] for strength in strengths)]
    dimensions = {}
    for dimension in DECIDING_DIMENSIONS:
        values = _dimension_values(dimension, references, sets, seed)
        if values is not None:
            dimensions[dimension] = values
    if not dimensions:
        raise InputError(
            "A strength is chosen by fidelity and controllability, but neither can be scored: generate images of the "
            "prompt types `trigger` or `alter`."
        )
    scaled = np.mean([values.scaled for values in dimensions.values()], axis=0)  # [strengths with base, resamples]
    order = sorted(range(1, len(sets)), key=lambda row: (abs(strengths[row - 1] - 1), strengths[row - 1]))
    best = np.array([strengths[row - 1] for row in order])[scaled[order].round(9).argmax(0)]
    low, high = np.quantile(best[1:], [0.025, 0.975], method="inverted_cdf")
    points = tuple(
        StrengthScore(
            strength,
            float(scaled[row, 0]),
            {dimension: float(values.raw[row]) for dimension, values in dimensions.items()},
        )
        for row, strength in enumerate([0.0, *strengths])
    )
    value = 1.0 if 1.0 in strengths and low <= 1 <= high else float(best[0])
    images = sum(len(one) for one in adapters[strengths[0]].values())
    return StrengthChoice(value, min(float(low), value), max(float(high), value), images, points)


def _aligned(base: Features, like: Features) -> Features:
    """The base's images of the prompts and seeds of other images."""
    aligned = {}
    for prompt_type, features in like.items():
        own = base[prompt_type].aligned_with(features) if prompt_type in base else None
        if own is None:
            raise InputError(f"The base has no images of the prompts and seeds of `{prompt_type}`.")
        aligned[prompt_type] = own
    return aligned


@dataclass(frozen=True, eq=False)
class _DimensionValues:
    """The values of a dimension at each strength, the base first: raw, and scaled in every resample."""

    raw: Float[np.ndarray, " strengths"]
    scaled: Float[np.ndarray, "strengths resamples"]


def _dimension_values(
    dimension: str, references: FeatureSet, sets: list[Features], seed: int
) -> _DimensionValues | None:
    """Score all strengths in a dimension, by every encoder that can; None if none can."""
    name, _, prompt_type = HEADLINE_SCORES[dimension].partition("/")
    count = len(sets[1].get(prompt_type, FeatureSet({})))
    if not count:
        return None
    metric = METRICS[name]
    generator = np.random.default_rng([seed, count])
    weights = np.vstack(
        [np.full(count, 1 / count), generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count]
    )
    by_encoder: list[Float[np.ndarray, "strengths resamples"]] = []
    for encoder in sets[1][prompt_type].encoder_names("image"):
        if "texts" in metric.inputs and encoder not in sets[1][prompt_type].encoder_names("text"):
            continue
        rows = []
        for features in sets:
            arrays = features[prompt_type].arrays
            own = references.arrays[f"image/{encoder}"] if "references" in metric.inputs else arrays[f"text/{encoder}"]
            rows.append(metric.function(own, arrays[f"image/{encoder}"], weights=weights))
        by_encoder.append(np.array(rows))
    if not by_encoder:
        return None
    scaled = []
    for values in by_encoder:
        lowest = values.min(0)
        width = np.maximum(values.max(0) - lowest, smallest_difference(name, None))
        scaled.append((values - lowest) / width)
    raw = np.mean([values[:, 0] for values in by_encoder], axis=0)
    return _DimensionValues(raw, np.mean(scaled, axis=0))
