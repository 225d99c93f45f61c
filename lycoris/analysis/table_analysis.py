"""Everything that is computed from a table of scores in one call, and the files with its results."""

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
from lycoris.cache.atomic import atomic_write_text


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results of :func:`analyze`.

    Attributes:
        ranking: scaled ranks.
        ranks: mean ranks, see :func:`lycoris.analysis.statistics.ranking.summarize_ranks`.
        effects: see :func:`lycoris.analysis.statistics.effects.compute_effects`.
        leaders: see :func:`lycoris.analysis.statistics.effects.count_leads`.
        correlations: matrices over measures.
        measure_pairs: see :func:`lycoris.analysis.statistics.correlations.measure_pairs`.
        importances: the model of each measure; empty without catboost.
        shap: see :func:`lycoris.analysis.statistics.importance.shap_by_level`.
        notes: what was left out, and which effects cannot be estimated, in sentences.
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
        """The rows of ``effects``, ``ranks`` and ``shap`` as JSON values; None for missing numbers."""
        tables = {"effects": self.effects, "ranks": self.ranks, "shap": self.shap}
        return {name: [_json_row(row) for row in table.to_dict("records")] for name, table in tables.items()}


def analyze(table: ScoreTable) -> Analysis:
    """Ranks, effects, correlations and, where catboost is installed, SHAP values of a table of scores."""
    ranking = rank_table(table)
    effects = compute_effects(ranking)
    correlations = correlate(ranking)
    importances = importance.explain(ranking) if importance.is_catboost_installed() else []
    return Analysis(
        ranking=ranking,
        ranks=summarize_ranks(ranking),
        effects=effects,
        leaders=count_leads(effects),
        correlations=correlations,
        measure_pairs=measure_pairs(correlations),
        importances=importances,
        shap=importance.shap_by_level(ranking, importances),
        notes=[*table.notes, *_notes(ranking, effects)],
    )


def _notes(ranking: Ranking, effects: pd.DataFrame) -> list[str]:
    notes = [] if importance.is_catboost_installed() else [importance.CATBOOST_REQUIRED]
    unspecified = [name for name in ("preset", "captions") if (ranking.settings[name] == "").any()]
    if unspecified:
        notes.append(
            f"Some configurations do not specify: {', '.join(unspecified)}. All of these are taken to share one value."
        )
    if len(ranking.groups) == 1:
        notes.append("There is only one group, and so there are no intervals.")
    if effects.empty:
        notes.append("No two configurations differ in one factor only, so no effect can be estimated.")
    return notes


def save_tables(analysis: Analysis, out: Path) -> None:
    """Write ``effects.csv``, ``ranks.csv``, ``scaled_ranks.csv``, ``correlations.csv`` and ``shap.csv``.

    Args:
        analysis: the results. ``scaled_ranks.csv`` has one row per row of the table of scores.
        out: a folder, created if necessary.
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
        atomic_write_text(out / f"{name}.csv", table.to_csv(index=False))


def json_line(analysis: Analysis) -> str:
    """The analysis as one line of JSON."""
    return json.dumps(analysis.as_json(), allow_nan=False)


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of plain Python values, None for numbers that are not finite."""
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in plain.items()
    }
