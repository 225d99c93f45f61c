"""Everything that is said about a table of scores, and the files that say it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lycoris.analysis.io.score_table import ScoreTable
from lycoris.analysis.statistics import importance
from lycoris.analysis.statistics.correlations import Correlations, correlate, measure_pairs
from lycoris.analysis.statistics.effects import compute_effects, count_leads
from lycoris.analysis.statistics.importance import Importance
from lycoris.analysis.statistics.ranking import Ranking, rank_table, summarize_ranks


@dataclass(frozen=True, eq=False)
class Analysis:
    """What :func:`analyze` finds.

    Attributes:
        ranking: scaled ranks.
        ranks: of :func:`lycoris.analysis.statistics.ranking.summary`.
        effects: of :func:`lycoris.analysis.statistics.effects.effects`.
        leaders: of :func:`lycoris.analysis.statistics.effects.leaders`.
        correlations: as matrices.
        correlated: of :func:`lycoris.analysis.statistics.correlations.pairs`.
        models: what moves each measure.
        shap: of :func:`lycoris.analysis.statistics.importance.levels`.
        notes: what was left out or not told apart, in sentences.
    """

    ranking: Ranking
    ranks: pd.DataFrame
    effects: pd.DataFrame
    leaders: pd.DataFrame
    correlations: Correlations
    measure_pairs: pd.DataFrame
    importances: list[Importance]
    shap: pd.DataFrame
    notes: list[str]

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """``effects``, ``ranks`` and ``shap`` as JSON can hold them: None for what is not there."""
        tables = {"effects": self.effects, "ranks": self.ranks, "shap": self.shap}
        return {name: [_json_row(row) for row in table.to_dict("records")] for name, table in tables.items()}


def analyze(table: ScoreTable) -> Analysis:
    """Ranks, effects, correlations and, where catboost is installed, SHAP values of a table of scores."""
    ranking = rank_table(table)
    found = compute_effects(ranking)
    correlations = correlate(ranking)
    notes = list(table.notes)
    models: list[Importance] = []
    if importance.is_catboost_installed():
        models = importance.explain(ranking)
    else:
        notes.append(importance.CATBOOST_REQUIRED)
    untold = [name for name in ("preset", "captions") if (ranking.settings[name] == "").any()]
    if untold:
        notes.append(f"Not told of every configuration: {', '.join(untold)}; taken to be the same wherever it is not.")
    if len(ranking.groups) == 1:
        notes.append("There is one group only, and so no interval.")
    if found.empty:
        notes.append("No two configurations differ in one factor only, so that no effect can be told.")
    return Analysis(
        ranking=ranking,
        ranks=summarize_ranks(ranking),
        effects=found,
        leaders=count_leads(found),
        correlations=correlations,
        measure_pairs=measure_pairs(correlations),
        importances=models,
        shap=importance.shap_by_level(ranking, models),
        notes=notes,
    )


def save_tables(analysis: Analysis, out: Path) -> None:
    """Write ``effects.csv``, ``ranks.csv``, ``scaled_ranks.csv`` (a row a row of the table), ``correlations.csv`` and
    ``shap.csv``.

    Args:
        analysis: what was found.
        out: a folder, made if need be.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables = {
        "effects": analysis.effects,
        "ranks": analysis.ranks,
        "scaled_ranks": analysis.ranking.rows,
        "correlations": analysis.measure_pairs,
        "shap": analysis.shap,
    }
    for name, table in tables.items():
        table.to_csv(out / f"{name}.csv", index=False)


def json_line(analysis: Analysis) -> str:
    """The analysis as one line of JSON."""
    return json.dumps(analysis.as_json(), allow_nan=False)


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Python's own numbers, None for those that are not finite."""
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in plain.items()
    }
