"""Tables of scores in one shape: a row per adapter and group, a column per measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lycoris.analysis.statistics.measures import Measure
from lycoris.errors import InputError

GROUP_COLUMNS = ("category", "class", "subclass")
ROW_COLUMNS = ("base", "strength", "config", "epoch", "seed", *GROUP_COLUMNS)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores to analyze.

    Attributes:
        rows: for each row ``base``, ``strength`` (a published folder's leading number), ``config``, ``epoch``
            (NaN when not specified), ``seed``, ``category``, ``class``, ``subclass``, their path ``group``,
            ``aggregate`` (whether the group contains other groups of the table), and the settings of
            `lycoris.analysis.statistics.configurations.NAMES` that are known.
        scores: the same index, a column per measure; NaN where there is no score.
        measures: name -> measure.
        notes: what was left out, in sentences.
    """

    rows: pd.DataFrame
    scores: pd.DataFrame
    measures: dict[str, Measure]
    notes: list[str] = field(default_factory=list)


def finalize_table(table: ScoreTable, path: Path) -> ScoreTable:
    """The table without duplicate rows and empty measures, with aggregates marked.

    Raises:
        InputError: Two rows of one adapter differ, or there is no score.
    """
    rows, scores, notes = table.rows, table.scores, list(table.notes)
    keys = pd.Series(["\0".join(map(str, row)) for row in rows[list(ROW_COLUMNS)].to_numpy()], index=rows.index)
    duplicates = keys.duplicated()
    if duplicates.any():
        first = pd.Series(keys.index, index=keys).groupby(level=0).first()
        for row in keys.index[duplicates]:
            one, other = scores.loc[first[keys[row]]], scores.loc[row]
            if not one.equals(other):
                column = next(name for name in scores if not one[[name]].equals(other[[name]]))
                raise InputError(
                    f"Rows {first[keys[row]]} and {row} of `{path}` are of one adapter, but differ in `{column}`."
                )
        rows, scores = rows[~duplicates], scores[~duplicates]
        notes.append(f"{int(duplicates.sum())} duplicate rows were counted once.")
    group = rows[list(GROUP_COLUMNS)].agg(lambda place: "/".join(part for part in place if part), axis=1)
    parents = {parent for path in group.unique() for parent in _parent_groups(path)}
    aggregate = group.isin(parents)
    if aggregate.any():
        names = ", ".join(f"`{name}`" if name else "the whole table" for name in sorted(parents & set(group)))
        notes.append(
            f"Ranked but not averaged: {int(aggregate.sum())} rows of {names}; the table has their parts as well."
        )
    empty = [name for name in scores if scores[name].isna().all()]
    if empty:
        notes.append(f"Left out, because they have no values: {', '.join(f'`{name}`' for name in empty)}.")
    measures = {name: measure for name, measure in table.measures.items() if name not in empty}
    if not measures:
        raise InputError(f"Table `{path}` has no scores.")
    return ScoreTable(rows.assign(group=group, aggregate=aggregate), scores[list(measures)], measures, notes)


def _parent_groups(group: str) -> list[str]:
    parts = group.split("/") if group else []
    return ["/".join(parts[:count]) for count in range(len(parts))]
