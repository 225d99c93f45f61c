"""Who ranks where: scaled ranks of every row of a table, and their means by adapter setting and group."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.io.score_table import GROUP_COLUMNS, ScoreTable
from lycoris.analysis.statistics.configurations import COLUMN_ALIASES, complete_settings
from lycoris.analysis.statistics.measures import Measure, mean_components
from lycoris.analysis.statistics.ranks import ranks_within
from lycoris.metrics.intervals import Estimate, confidence_interval

SETTING_COLUMNS = ("base", "strength", "config", "epoch")
DISPLAY_COLUMNS = (
    "config",
    "base",
    "strength",
    "algorithm",
    "preset",
    "captions",
    "capacity",
    "learning_rate",
    "epoch",
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scaled ranks of a table.

    Attributes:
        rows: the table's rows, aggregates as well, with a column of scaled ranks for each measure.
        arms: the adapter settings, one a row: a configuration of one base, at one strength, after one epoch.
        groups: the (category, class, subclass) that means are taken over, as paths.
        classes: the (category, class) of each group.
        measures: the table's measures, then the means of `lycoris.analysis.statistics.measures.means`.
        cells: the mean rank over seeds; NaN where nothing was scored.
        seeds: the mean rank over groups of every seed.
    """

    rows: pd.DataFrame
    settings: pd.DataFrame
    groups: list[str]
    classes: list[str]
    measures: list[Measure]
    group_ranks: Float[np.ndarray, "arms groups measures"]
    seed_ranks: Float[np.ndarray, "arms seeds measures"]


def rank_table(table: ScoreTable) -> Ranking:
    """Scaled ranks within (category, class, subclass), over all adapters, seeds and epochs.

    Source: arXiv 2309.14859, section 5. A group that is the mean of others in the table is ranked, too, but
    left out of the means, so that no picture counts twice.
    """
    better = {name: measure.higher_is_better for name, measure in table.measures.items()}
    ranks = ranks_within(table.scores, table.rows["group"], better)
    return _ranking_from_rows(pd.concat([table.rows, ranks], axis=1), list(table.measures.values()))


def exclude_prompt_types(ranking: Ranking, prompt_types: Collection[str]) -> Ranking:
    """The ranking of the same table without what was drawn from some types of prompts.

    Args:
        ranking: of a table.
        prompt_types: to be left out of the measures and of all means.
    """
    measures = [one for one in ranking.measures if one.name in ranking.rows]
    kept = [one for one in measures if one.prompt_type not in prompt_types]
    return ranking if len(kept) == len(measures) else _ranking_from_rows(ranking.rows, kept)


def _ranking_from_rows(ranked: pd.DataFrame, measures: list[Measure]) -> Ranking:
    """Means of the ranks that stand in the rows of a table."""
    rows = ranked[~ranked["aggregate"]]
    arm = setting_index(rows)
    groups = rows["group"].drop_duplicates().sort_values()
    group = rows["group"].map({name: place for place, name in enumerate(groups)})
    seed = rows["seed"].map({name: place for place, name in enumerate(sorted(rows["seed"].unique()))})
    values = append_means(rows[[one.name for one in measures]].to_numpy(dtype=float), measures)

    settings = rows[~arm.duplicated()]
    arms = complete_settings(
        settings[[*SETTING_COLUMNS, *(name for name in COLUMN_ALIASES if name in rows and name not in SETTING_COLUMNS)]]
    )
    return Ranking(
        rows=ranked,
        settings=arms.reset_index(drop=True),
        groups=list(groups),
        classes=["/".join(filter(None, place)) for place in rows.loc[groups.index, list(GROUP_COLUMNS[:2])].to_numpy()],
        measures=[*measures, *mean_components(measures)],
        group_ranks=_means_by_position(values, arm.to_numpy(), group.to_numpy()),
        seed_ranks=_means_by_position(values, arm.to_numpy(), seed.to_numpy()),
    )


def setting_index(rows: pd.DataFrame) -> pd.Series:
    """For each row of a table that is no aggregate its adapter setting, as a place in ``Ranking.arms``."""
    return rows.groupby(list(SETTING_COLUMNS), sort=False, dropna=False).ngroup()


def append_means(
    values: Float[np.ndarray, "rows measures"], measures: list[Measure]
) -> Float[np.ndarray, "rows measures_and_means"]:
    """Ranks of measures, and behind them the means of `lycoris.analysis.statistics.measures.means`."""
    every = [values]
    for parts in mean_components(measures).values():
        inner = [_row_means(values[:, [measures.index(one) for one in part]]) for part in parts]
        every.append(_row_means(np.stack(inner, axis=1))[:, None])
    return np.concatenate(every, axis=1)


def summarize_ranks(ranking: Ranking) -> pd.DataFrame:
    """The mean rank of every adapter setting on every measure.

    Returns:
        ``config``, the settings, ``metric``, ``prompt_type``, ``encoder``; ``rank``, the mean over groups of the mean
        over seeds; ``standard_error`` of the seeds' means; ``low`` and ``high``, a 95 % bootstrap
        interval over groups; how many ``groups`` and ``seeds``. None where there is no such number.
    """
    rows = []
    told = ranking.settings[list(DISPLAY_COLUMNS)].to_dict("records")
    for place, measure in enumerate(ranking.measures):
        named = {"metric": measure.metric, "prompt_type": measure.prompt_type, "encoder": measure.encoder}
        for arm, settings in enumerate(told):
            mean = mean_over_groups(ranking.group_ranks[arm, :, place], minimum=0.0)
            if mean is None:
                continue
            seeds = ranking.seed_ranks[arm, :, place]
            seeds = seeds[~np.isnan(seeds)]
            error = float(seeds.std(ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else None
            rank = {"rank": mean["mean"], "standard_error": error, "low": mean["low"], "high": mean["high"]}
            rows.append({**settings, **named, **rank, "groups": mean["groups"], "seeds": len(seeds)})
    return pd.DataFrame(rows)


def mean_over_groups(values: Float[np.ndarray, " groups"], minimum: float) -> dict[str, Any] | None:
    """The mean over groups with its 95 % interval; None when there is no value.

    The interval is a bootstrap, or Student's of a handful of groups (`lycoris.metrics.intervals.FEW`), cut to the
    range of the values.

    Args:
        values: one a group; NaN where there is none.
        least: the smallest value there can be; the largest is 1.

    Returns:
        ``mean``, ``low``, ``high`` (None for a single group) and the number of ``groups``.
    """
    known = values[~np.isnan(values)]
    count = len(known)
    if not count:
        return None
    mean = float(known.mean())
    low, high = (confidence_interval(Estimate(mean, known - mean)) or (None, None)) if count > 1 else (None, None)
    if low is not None and high is not None:
        low, high = max(low, minimum), min(high, 1.0)
    return {"mean": mean, "low": low, "high": high, "groups": count}


def _row_means(values: np.ndarray) -> np.ndarray:
    """The mean along axis 1 of what is not NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _means_by_position(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Means of the rows that share both places; NaN where there is none."""
    shape = (first.max() + 1, second.max() + 1, values.shape[1])
    total, count = np.zeros(shape), np.zeros(shape)
    known = ~np.isnan(values)
    np.add.at(total, (first, second), np.where(known, values, 0.0))
    np.add.at(count, (first, second), known)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
