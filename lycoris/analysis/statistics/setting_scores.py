"""Scaled ranks of every adapter setting in each dimension, comparable even where settings met different concepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.decisions.pareto import pareto_mask
from lycoris.analysis.statistics.group_means import mean_over_groups
from lycoris.analysis.statistics.measures import ALL_COMBINED
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import DIMENSIONS

ERROR_SAMPLES = 200
"""Samples of the settings' true means in :func:`front_probabilities`."""


class MeanWithInterval(TypedDict):
    """A mean and its 95 % interval, as JSON has it; None where there is none."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class SettingScores:
    """Scaled ranks of settings by dimension.

    Attributes:
        settings: the settings, as in :class:`lycoris.analysis.statistics.ranking.Ranking`.
        dimensions: the dimensions that some setting was scored in.
        missing: the other dimensions.
        unit: what means and intervals are over: ``"concept"``, or ``"seed"`` where there is one concept.
        values: mean scaled ranks without the effects of concepts; NaN where nothing was scored.
    """

    settings: pd.DataFrame
    dimensions: tuple[str, ...]
    missing: tuple[str, ...]
    unit: str
    values: Float[np.ndarray, "settings units dimensions"]

    @property
    def configs(self) -> list[str]:
        """The name of each setting in the table."""
        return [str(name) for name in self.settings["config"]]

    @property
    def points(self) -> Float[np.ndarray, "settings dimensions"]:
        """The mean of every setting in each dimension; NaN where it was not scored at all."""
        return np.stack([[_known_mean(column) for column in setting.T] for setting in self.values])

    @property
    def counts(self) -> list[int]:
        """On how many units each setting was scored in any dimension."""
        return [int((~np.isnan(setting)).any(axis=1).sum()) for setting in self.values]

    def weighted_means(self, weights: dict[str, float]) -> Float[np.ndarray, "settings units"]:
        """The weighted mean over the dimensions that a unit was scored in; the weight is 1 where none is given."""
        vector = np.array([weights.get(name, 1.0) for name in self.dimensions])
        known = ~np.isnan(self.values)
        total = (known * vector).sum(axis=2)
        sums = (np.where(known, self.values, 0.0) * vector).sum(axis=2)
        return np.where(total > 0, sums / np.where(total > 0, total, 1.0), np.nan)


def score_settings(ranking: Ranking) -> SettingScores:
    """The scores of the settings of a ranking.

    Where not every setting was trained on every concept, a plain mean would favor those with weak rivals or easy
    concepts. These are least-squares means of a two-way table, which for complete tables are plain means.
    """
    indices = {
        one.metric: index
        for index, one in enumerate(ranking.measures)
        if (one.prompt_type, one.encoder) == (ALL_COMBINED, ALL_COMBINED)
    }
    dimensions = tuple(name for name in DIMENSIONS if name in indices)
    several = len(ranking.groups) > 1
    raw = (ranking.group_ranks if several else ranking.seed_ranks)[:, :, [indices[name] for name in dimensions]]
    values = np.stack([remove_column_effects(raw[:, :, index]) for index in range(len(dimensions))], axis=2)
    return SettingScores(
        ranking.settings,
        dimensions,
        tuple(name for name in DIMENSIONS if name not in dimensions),
        "concept" if several else "seed",
        values,
    )


def remove_column_effects(table: Float[np.ndarray, "settings units"]) -> Float[np.ndarray, "settings units"]:
    """A two-way table without the differences between its columns.

    Args:
        table: NaN where nothing was measured.

    Returns:
        The table less the least-squares effect of each column relative to that of the fullest columns. Means of its
        rows can be compared even if they were measured in different columns, and are what they would be among the most
        rivals.
    """
    rows, columns = np.nonzero(~np.isnan(table))
    settings, units = table.shape
    design = np.zeros((len(rows), settings + units))
    design[np.arange(len(rows)), rows] = 1
    design[np.arange(len(rows)), settings + columns] = 1
    effects = np.linalg.lstsq(design, table[rows, columns], rcond=None)[0][settings:]
    counts = np.bincount(columns, minlength=units)
    return table - np.where(counts > 0, effects - effects[counts == counts.max()].mean(), 0.0)


def front_probabilities(scores: SettingScores, rng: np.random.Generator) -> Float[np.ndarray, " settings"]:
    """The probability of each setting to be on the Pareto front of the true means, see :func:`sample_means`."""
    samples = sample_means(scores, rng)
    return np.mean([pareto_mask(points) for points in samples], axis=0)


def sample_means(scores: SettingScores, rng: np.random.Generator) -> Float[np.ndarray, "samples settings dimensions"]:
    """Samples of the settings' true means, with normal errors.

    The error of one training is taken to be the same for all settings in a dimension. It is estimated from the
    residuals of the two-way means; with one concept there are none, and the spread of the settings takes their place.
    """
    points = np.nan_to_num(scores.points)
    known = ~np.isnan(scores.values)
    units = known.any(axis=(0, 2)).sum()
    residuals = np.where(known, scores.values - points[:, None, :], 0.0)
    freedom = np.maximum(known.sum(axis=(0, 1)) - len(points) - units + 1, 1)
    deviation = np.sqrt((residuals**2).sum(axis=(0, 1)) / freedom) if units > 1 else points.std(axis=0)
    error = deviation / np.sqrt(np.maximum(known.sum(axis=1), 1))
    return points + error * rng.standard_normal((ERROR_SAMPLES, *points.shape))


def mean_with_interval(values: Float[np.ndarray, " units"], minimum: float = 0.0) -> MeanWithInterval:
    """The mean over units with its interval, see `lycoris.analysis.statistics.group_means.mean_over_groups`."""
    mean = mean_over_groups(values, minimum)
    if mean is None:
        return MeanWithInterval(mean=None, low=None, high=None)
    return MeanWithInterval(mean=mean.mean, low=mean.low, high=mean.high)


def _known_mean(values: Float[np.ndarray, " units"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def validate_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """A weight for each dimension; 1 where none is given.

    Raises:
        InputError: A dimension is unknown, a weight is negative or not finite, or all are 0.
    """
    for name, weight in weights.items():
        if name not in DIMENSIONS:
            raise unknown_name_error("dimension", name, DIMENSIONS)
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"Argument `weights` must be at least 0, but got {weight} for `{name}`.")
    complete: dict[str, float] = {name: float(weights.get(name, 1.0)) for name in DIMENSIONS}
    if not any(complete.values()):
        raise InputError("Argument `weights` must have some dimension above 0, but all are 0.")
    return complete
