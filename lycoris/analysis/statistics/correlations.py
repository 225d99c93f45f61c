"""Which measures say the same: correlations of ranks, over prompt types, encoders and resize modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.measures import Measure
from lycoris.analysis.statistics.ranking import Ranking, mean_over_groups

ATTRIBUTES = ("prompt_type", "encoder", "resize_mode", "metric", "several")


@dataclass(frozen=True, eq=False)
class Correlations:
    """Correlations of the measures of a table, means over encoders and metrics left out.

    Attributes:
        measures: in the order of the matrix, by metric, prompt type and encoder.
        matrix: the mean over groups of Spearman's correlation within a group, over adapters, seeds and epochs;
            NaN where one of the two never varies.
        by_group: the same before the mean.
    """

    measures: list[Measure]
    matrix: Float[np.ndarray, "measures measures"]
    by_group: Float[np.ndarray, "groups measures measures"]


def correlate(ranking: Ranking) -> Correlations:
    """Spearman's correlation of every two measures within each group, and its mean over groups."""
    measures = [one for one in ranking.measures if one.name in ranking.rows]
    first = {one.metric: place for place, one in reversed(list(enumerate(measures)))}
    measures.sort(key=lambda one: (first[one.metric], one.prompt_type, one.encoder))
    rows = ranking.rows[~ranking.rows["aggregate"]]
    names = [one.name for one in measures]
    by_group = np.stack(
        [rows.loc[rows["group"] == group, names].corr(min_periods=3).to_numpy() for group in ranking.groups]
    )
    known = ~np.isnan(by_group)
    count = known.sum(axis=0)
    total = np.where(known, by_group, 0.0).sum(axis=0)
    return Correlations(measures, np.where(count > 0, total / np.maximum(count, 1), np.nan), by_group)


def differing_attribute(one: Measure, other: Measure) -> str:
    """The one thing in which two measures differ: one of `KINDS`, ``several`` when it is more than one."""
    parts = {
        "metric": one.metric != other.metric,
        "prompt_type": one.prompt_type != other.prompt_type,
        "encoder": one.network != other.network,
        "resize_mode": one.resize_mode != other.resize_mode,
    }
    if parts["metric"] and one.network and other.network:
        # Metrics that look at no reference have no resize mode to agree in.
        parts["resize_mode"] &= bool(one.resize_mode and other.resize_mode)
    elif parts["metric"]:
        parts["encoder"] = parts["resize_mode"] = False
    changed = [name for name, said in parts.items() if said]
    return changed[0] if len(changed) == 1 else "several"


def measure_pairs(correlations: Correlations) -> pd.DataFrame:
    """Every two measures once.

    Returns:
        ``first``, ``second`` (names of measures), ``differ`` (in what), ``correlation`` and its 95 % bootstrap interval
        over groups, ``low`` and ``high``, None for a single group.
    """
    rows = []
    for i, one in enumerate(correlations.measures):
        for j in range(i + 1, len(correlations.measures)):
            other = correlations.measures[j]
            mean = mean_over_groups(correlations.by_group[:, i, j], minimum=-1.0)
            if mean is None:
                continue
            ends = {"low": mean["low"], "high": mean["high"]}
            rows.append(
                {
                    "first": one.name,
                    "second": other.name,
                    "differ": differing_attribute(one, other),
                    "correlation": mean["mean"],
                }
                | ends
            )
    return pd.DataFrame(rows, columns=["first", "second", "differ", "correlation", "low", "high"])


def agreement_by_attribute(table: pd.DataFrame) -> pd.DataFrame:
    """How far measures agree that differ in one thing only.

    Args:
        table: of :func:`pairs`.

    Returns:
        By thing: the mean ``correlation``, the ``lowest``, the ``highest``, and the number of ``pairs``.
    """
    by = table.groupby("differ")["correlation"]
    found = pd.DataFrame({"correlation": by.mean(), "lowest": by.min(), "highest": by.max(), "pairs": by.size()})
    return found.reindex([kind for kind in ATTRIBUTES[:-1] if kind in found.index])
