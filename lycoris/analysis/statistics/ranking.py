"""Scaled ranks of every row of a table of scores, and their means by adapter setting and group."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.io.score_table import GROUP_COLUMNS, ScoreTable
from lycoris.analysis.statistics.configurations import COLUMN_ALIASES, complete_settings
from lycoris.analysis.statistics.group_means import mean_of_known, mean_over_groups
from lycoris.analysis.statistics.measures import Measure, mean_components
from lycoris.analysis.statistics.ranks import ranks_within

SETTING_COLUMNS = ("base", "strength", "config", "epoch")
"""What an adapter setting is: a configuration of one base, at one strength, after one epoch."""
DISPLAY_COLUMNS = (
    *("config", "base", "strength", "algorithm", "preset", "captions", "capacity", "learning_rate", "epoch"),
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scaled ranks of a table.

    Attributes:
        rows: the table's rows, aggregates included, with a column of scaled ranks for each measure.
        settings: the adapter settings, one per row, see `SETTING_COLUMNS`.
        groups: the (category, class, subclass) that means are taken over, as paths.
        classes: the (category, class) of each group.
        measures: the table's measures, then the means of `lycoris.analysis.statistics.measures.mean_components`.
        group_ranks: the mean rank over seeds; NaN where nothing was scored.
        seed_ranks: the mean rank over groups of every seed.
    """

    rows: pd.DataFrame
    settings: pd.DataFrame
    groups: list[str]
    classes: list[str]
    measures: list[Measure]
    group_ranks: Float[np.ndarray, "settings groups measures"]
    seed_ranks: Float[np.ndarray, "settings seeds measures"]


def rank_table(table: ScoreTable) -> Ranking:
    """Scaled ranks within each (category, class, subclass), over all adapters, seeds and epochs.

    A group that is the mean of others in the table is ranked as well, but left out of the means, so that no image
    counts twice.

    Source: arXiv 2309.14859, section 5.
    """
    better = {name: measure.higher_is_better for name, measure in table.measures.items()}
    ranks = ranks_within(table.scores, table.rows["group"], better)
    return _ranking_from_rows(pd.concat([table.rows, ranks], axis=1), list(table.measures.values()))


def exclude_prompt_types(ranking: Ranking, prompt_types: Collection[str]) -> Ranking:
    """The ranking of the same table without some prompt types.

    Args:
        ranking: the ranking of a table.
        prompt_types: left out of the measures and of all means.
    """
    measures = [one for one in ranking.measures if one.name in ranking.rows]
    remaining = [one for one in measures if one.prompt_type not in prompt_types]
    return ranking if len(remaining) == len(measures) else _ranking_from_rows(ranking.rows, remaining)


def _ranking_from_rows(ranked: pd.DataFrame, measures: list[Measure]) -> Ranking:
    """The means of the ranks in the rows of a table."""
    rows = ranked[~ranked["aggregate"]]
    setting = setting_index(rows)
    groups = rows["group"].drop_duplicates().sort_values()
    group = rows["group"].map({name: index for index, name in enumerate(groups)})
    seed = rows["seed"].map({name: index for index, name in enumerate(sorted(rows["seed"].unique()))})
    values = append_means(rows[[one.name for one in measures]].to_numpy(dtype=float), measures)

    known = [*SETTING_COLUMNS, *(name for name in COLUMN_ALIASES if name in rows and name not in SETTING_COLUMNS)]
    settings = complete_settings(rows[~setting.duplicated()][known])
    return Ranking(
        rows=ranked,
        settings=settings.reset_index(drop=True),
        groups=list(groups),
        classes=["/".join(filter(None, path)) for path in rows.loc[groups.index, list(GROUP_COLUMNS[:2])].to_numpy()],
        measures=[*measures, *mean_components(measures)],
        group_ranks=_means_by_position(values, setting.to_numpy(), group.to_numpy()),
        seed_ranks=_means_by_position(values, setting.to_numpy(), seed.to_numpy()),
    )


def setting_index(rows: pd.DataFrame) -> pd.Series:
    """For each row of a table without aggregates the index of its adapter setting in ``Ranking.settings``."""
    return rows.groupby(list(SETTING_COLUMNS), sort=False, dropna=False).ngroup()


def append_means(
    values: Float[np.ndarray, "rows measures"], measures: list[Measure]
) -> Float[np.ndarray, "rows measures_and_means"]:
    """Ranks of measures, followed by the means of `lycoris.analysis.statistics.measures.mean_components`."""
    columns = [values]
    for components in mean_components(measures).values():
        inner = [mean_of_known(values[:, [measures.index(one) for one in part]], axis=1) for part in components]
        columns.append(mean_of_known(np.stack(inner, axis=1), axis=1)[:, None])
    return np.concatenate(columns, axis=1)


def summarize_ranks(ranking: Ranking) -> pd.DataFrame:
    """The mean rank of every adapter setting on every measure.

    Returns:
        ``config``, the settings, ``metric``, ``prompt_type``, ``encoder``; ``rank``, the mean over groups of the mean
        over seeds; ``standard_error`` of the seeds' means; ``low`` and ``high``, a 95 % interval over groups; the
        numbers of ``groups`` and ``seeds``. None for a number that does not exist.
    """
    rows = []
    displayed = ranking.settings[list(DISPLAY_COLUMNS)].to_dict("records")
    for index, measure in enumerate(ranking.measures):
        names = {"metric": measure.metric, "prompt_type": measure.prompt_type, "encoder": measure.encoder}
        for number, setting in enumerate(displayed):
            mean = mean_over_groups(ranking.group_ranks[number, :, index], minimum=0.0)
            if mean is None:
                continue
            seeds = ranking.seed_ranks[number, :, index]
            seeds = seeds[~np.isnan(seeds)]
            error = float(seeds.std(ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else None
            rank = {"rank": mean.mean, "standard_error": error, "low": mean.low, "high": mean.high}
            rows.append({**setting, **names, **rank, "groups": mean.groups, "seeds": len(seeds)})
    return pd.DataFrame(rows)


def _means_by_position(
    values: Float[np.ndarray, "rows measures"], first: np.ndarray, second: np.ndarray
) -> Float[np.ndarray, "first second measures"]:
    """Means of the rows that share both indices; NaN where there is none."""
    shape = (first.max() + 1, second.max() + 1, values.shape[1])
    total, count = np.zeros(shape), np.zeros(shape)
    known = ~np.isnan(values)
    np.add.at(total, (first, second), np.where(known, values, 0.0))
    np.add.at(count, (first, second), known)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
