"""Which measures agree: correlations of ranks over prompt types, encoders and resize modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.group_means import mean_of_known, mean_over_groups
from lycoris.analysis.statistics.measures import Measure
from lycoris.analysis.statistics.ranking import Ranking

ATTRIBUTES = ("prompt_type", "encoder", "resize_mode", "metric", "several")
"""In what two measures can differ."""


@dataclass(frozen=True, eq=False)
class Correlations:
    """Correlations of the measures of a table, without means over encoders and metrics.

    Attributes:
        measures: in the order of the matrix: by metric, prompt type and encoder.
        matrix: the mean over groups of Spearman's correlation within a group, over adapters, seeds and epochs; NaN
            where one of the two never varies.
        by_group: the correlations within each group.
    """

    measures: list[Measure]
    matrix: Float[np.ndarray, "measures measures"]
    by_group: Float[np.ndarray, "groups measures measures"]


def correlate(ranking: Ranking) -> Correlations:
    """Spearman's correlation of every two measures within each group, and its mean over groups."""
    measures = [one for one in ranking.measures if one.name in ranking.rows]
    first = {one.metric: index for index, one in reversed(list(enumerate(measures)))}
    measures.sort(key=lambda one: (first[one.metric], one.prompt_type, one.encoder))
    rows = ranking.rows[~ranking.rows["aggregate"]]
    names = [one.name for one in measures]
    by_group = np.stack(
        [rows.loc[rows["group"] == group, names].corr(min_periods=3).to_numpy() for group in ranking.groups]
    )
    return Correlations(measures, mean_of_known(by_group, axis=0), by_group)


def differing_attribute(one: Measure, other: Measure) -> str:
    """The only attribute in which two measures differ, of `ATTRIBUTES`; ``several`` when it is more than one."""
    differs = {
        "metric": one.metric != other.metric,
        "prompt_type": one.prompt_type != other.prompt_type,
        "encoder": one.network != other.network,
        "resize_mode": one.resize_mode != other.resize_mode,
    }
    if differs["metric"] and one.network and other.network:
        # Metrics without references have no resize mode.
        differs["resize_mode"] &= bool(one.resize_mode and other.resize_mode)
    elif differs["metric"]:
        differs["encoder"] = differs["resize_mode"] = False
    changed = [name for name, value in differs.items() if value]
    return changed[0] if len(changed) == 1 else "several"


def measure_pairs(correlations: Correlations) -> pd.DataFrame:
    """Every two measures once.

    Returns:
        ``first``, ``second`` (names of measures), ``differ`` (in what), ``correlation`` and its 95 % interval over
        groups, ``low`` and ``high``, None for a single group.
    """
    rows = []
    for i, one in enumerate(correlations.measures):
        for j in range(i + 1, len(correlations.measures)):
            other = correlations.measures[j]
            mean = mean_over_groups(correlations.by_group[:, i, j], minimum=-1.0)
            if mean is not None:
                attribute = differing_attribute(one, other)
                rows.append((one.name, other.name, attribute, mean.mean, mean.low, mean.high))
    return pd.DataFrame(rows, columns=["first", "second", "differ", "correlation", "low", "high"])


def agreement_by_attribute(table: pd.DataFrame) -> pd.DataFrame:
    """How far measures agree that differ in one attribute only.

    Args:
        table: of :func:`measure_pairs`.

    Returns:
        By attribute: the mean ``correlation``, the ``lowest``, the ``highest``, and the number of ``pairs``.
    """
    by = table.groupby("differ")["correlation"]
    result = pd.DataFrame({"correlation": by.mean(), "lowest": by.min(), "highest": by.max(), "pairs": by.size()})
    return result.reindex([name for name in ATTRIBUTES[:-1] if name in result.index])
