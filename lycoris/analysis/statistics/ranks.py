"""Scaled ranks, which make scores of different units comparable within one concept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from lycoris.analysis.statistics.measures import counts_in_dimension
from lycoris.metrics.score import ScoreRecord


class AdapterScore(ScoreRecord):
    """A score of one of several adapters."""

    adapter: str


def scaled_ranks(values: Sequence[float | None], *, higher_is_better: bool) -> list[float | None]:
    """Ranks scaled to [0, 1], where 1 is best; equal values share their mean rank.

    Args:
        values: one score per adapter; None is not ranked.
        higher_is_better: False for distances.

    Returns:
        One rank each: None without a value, 0.5 for an adapter without a rival.

    Source: arXiv 2309.14859, section 5 (scaled rank within a category and class).
    """
    table = pd.DataFrame({"value": pd.Series(list(values), dtype="float64")})
    ranks = ranks_within(table, pd.Series(0, index=table.index), {"value": higher_is_better})["value"]
    return [None if pd.isna(rank) else float(rank) for rank in ranks]


def ranks_within(values: pd.DataFrame, groups: pd.Series, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """:func:`scaled_ranks` of every column, among the rows of one group.

    Args:
        values: scores, one row per adapter; NaN is not ranked.
        groups: the group of each row, with the index of ``values``.
        higher_is_better: the direction of each column.

    Returns:
        A table like ``values``.
    """
    up = [name for name in values if higher_is_better[name]]
    down = [name for name in values if not higher_is_better[name]]
    parts = []
    for names, ascending in ((up, True), (down, False)):
        by = values[names].groupby(groups)
        ranks, count = by.rank(ascending=ascending), by.transform("count")
        parts.append(((ranks - 1) / (count - 1)).where(count > 1, ranks * 0 + 0.5))
    return pd.concat(parts, axis=1)[list(values)]


def dimension_ranks(scores: Iterable[AdapterScore]) -> pd.DataFrame:
    """The mean scaled rank of each adapter in each dimension.

    Args:
        scores: the scores of the adapters of *one* concept, each with ``adapter``, ``name``, ``value``, ``dimension``
            and ``higher_is_better``.

    Returns:
        A table of ranks in [0, 1], adapters by dimensions, both sorted by name. Ranks are averaged within each metric
        (over prompt types and encoders), then over the metrics of a dimension, so that a metric does not weigh more for
        having more encoders. What `lycoris.analysis.statistics.measures.counts_in_dimension` excludes is left out.
    """
    table = pd.DataFrame(list(scores))
    if table.empty:
        return pd.DataFrame()
    values = table["value"].astype("float64").where(table["higher_is_better"], -table["value"].astype("float64"))
    table["rank"] = ranks_within(values.to_frame(), table["name"], {"value": True})["value"]
    parts = table["name"].str.split("/", n=2, expand=True).reindex(columns=[0, 1])
    table["metric"] = parts[0]
    table = table[
        [counts_in_dimension(metric, prompt_type) for metric, prompt_type in zip(parts[0], parts[1], strict=True)]
    ]
    by_metric = table.groupby(["adapter", "dimension", "metric"])["rank"].mean()
    return by_metric.groupby(["adapter", "dimension"]).mean().unstack("dimension").sort_index()
