"""Where every adapter setting of a table stands in each dimension, on the same concepts or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.decisions.pareto import pareto_mask
from lycoris.analysis.statistics.measures import ALL_COMBINED
from lycoris.analysis.statistics.ranking import Ranking, mean_over_groups
from lycoris.terms import DIMENSIONS

ERROR_SAMPLES = 200
"""Of :func:`front_chances`."""


@dataclass(frozen=True, eq=False)
class SettingScores:
    """Scaled ranks of settings by dimension.

    Attributes:
        arms: the settings, as in :class:`lycoris.analysis.statistics.ranking.Ranking`.
        dimensions: those of the five that some setting was scored in.
        missing: the others.
        unit: what means are taken over and intervals resample: ``"concept"``, or ``"seed"`` where there is one concept.
        values: mean scaled ranks, freed of what their concept does to every setting; NaN where nothing was scored.
    """

    settings: pd.DataFrame
    dimensions: tuple[str, ...]
    missing: tuple[str, ...]
    unit: str
    values: Float[np.ndarray, "arms units dimensions"]

    @property
    def points(self) -> Float[np.ndarray, "arms dimensions"]:
        """The mean of every setting in each dimension; NaN where it was not scored at all."""
        return np.stack([[_known_mean(one) for one in arm.T] for arm in self.values])

    @property
    def counts(self) -> list[int]:
        """On how many units each setting was scored in any dimension."""
        return [int((~np.isnan(arm)).any(axis=1).sum()) for arm in self.values]

    def weighted_means(self, weights: dict[str, float]) -> Float[np.ndarray, "arms units"]:
        """The weighted mean over dimensions; a dimension that a unit was not scored in takes no part."""
        shares = np.array([weights.get(name, 1.0) for name in self.dimensions])
        known = ~np.isnan(self.values)
        total = (known * shares).sum(axis=2)
        sums = (np.where(known, self.values, 0.0) * shares).sum(axis=2)
        return np.where(total > 0, sums / np.where(total > 0, total, 1.0), np.nan)


def score_settings(ranking: Ranking) -> SettingScores:
    """Where the settings of a ranking stand.

    Where not every setting was trained on every concept, a plain mean would favour those that met weak rivals or easy
    concepts; these are least-squares means of a two-way table, which for complete tables are plain means.
    """
    places = {
        one.metric: place
        for place, one in enumerate(ranking.measures)
        if (one.prompt_type, one.encoder) == (ALL_COMBINED, ALL_COMBINED)
    }
    known = tuple(name for name in DIMENSIONS if name in places)
    several = len(ranking.groups) > 1
    raw = (ranking.group_ranks if several else ranking.seed_ranks)[:, :, [places[name] for name in known]]
    values = np.stack([remove_column_effects(raw[:, :, place]) for place in range(len(known))], axis=2)
    return SettingScores(
        ranking.settings,
        known,
        tuple(name for name in DIMENSIONS if name not in known),
        "concept" if several else "seed",
        values,
    )


def remove_column_effects(table: Float[np.ndarray, "arms units"]) -> Float[np.ndarray, "arms units"]:
    """A two-way table without the differences between its columns.

    Args:
        table: NaN where nothing was measured.

    Returns:
        The table less the least-squares effect of each column beside that of the fullest columns, so that means of
        rows compare whatever columns they were measured in, and are what they would be among the most rivals.
    """
    rows, columns = np.nonzero(~np.isnan(table))
    arms, units = table.shape
    design = np.zeros((len(rows), arms + units))
    design[np.arange(len(rows)), rows] = 1
    design[np.arange(len(rows)), arms + columns] = 1
    effects = np.linalg.lstsq(design, table[rows, columns], rcond=None)[0][arms:]
    counts = np.bincount(columns, minlength=units)
    return table - np.where(counts > 0, effects - effects[counts == counts.max()].mean(), 0.0)


def front_probabilities(scores: SettingScores, rng: np.random.Generator) -> Float[np.ndarray, " arms"]:
    """How likely each setting is to be on the Pareto front of all means, as :func:`draws` has them."""
    drawn = sample_means(scores, rng)
    return np.mean([pareto_mask(points) for points in drawn], axis=0)


def sample_means(scores: SettingScores, rng: np.random.Generator) -> Float[np.ndarray, "draws arms dimensions"]:
    """What the settings' true means might be, if errors of means are normal.

    The error of one training is taken to be the same for all settings in a dimension, and is told by what two-way means
    leave over. With one concept nothing is left over, and it is taken to be as large as the settings are far apart.
    """
    points = np.nan_to_num(scores.points)
    known = ~np.isnan(scores.values)
    met = known.any(axis=(0, 2)).sum()
    rest = np.where(known, scores.values - points[:, None, :], 0.0)
    freedom = np.maximum(known.sum(axis=(0, 1)) - len(points) - met + 1, 1)
    deviation = np.sqrt((rest**2).sum(axis=(0, 1)) / freedom) if met > 1 else points.std(axis=0)
    error = deviation / np.sqrt(np.maximum(known.sum(axis=1), 1))
    return points + error * rng.standard_normal((ERROR_SAMPLES, *points.shape))


def mean_with_interval(values: Float[np.ndarray, " units"], minimum: float = 0.0) -> dict[str, Any]:
    """``mean``, and ``low`` and ``high`` as in `lycoris.analysis.statistics.ranking.over_groups`; None where there
    is none."""
    found = mean_over_groups(values, minimum)
    return {name: None if found is None else found[name] for name in ("mean", "low", "high")}


def _known_mean(values: Float[np.ndarray, " units"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
