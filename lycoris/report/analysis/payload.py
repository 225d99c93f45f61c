"""From an analysis to the data of its page; measures, adapter settings and groups are referred to by index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.statistics.correlations import agreement_by_attribute
from lycoris.analysis.statistics.effects import FACTORS, comparisons, mean_over_pairs
from lycoris.analysis.statistics.importance import Importance, model_features
from lycoris.analysis.statistics.measures import Measure
from lycoris.analysis.statistics.ranking import DISPLAY_COLUMNS, Ranking, setting_index
from lycoris.analysis.table_analysis import Analysis
from lycoris.analysis.text.effect_text import describe_effects, level_label
from lycoris.analysis.text.formatting import titled_algorithms
from lycoris.metrics.registry import METRICS
from lycoris.report.run.image_selection import subsample

MAX_SWARM_SETTINGS = 300
"""The most adapter settings in a swarm of SHAP values, evenly chosen; ``shap.csv`` and the means are of all."""
MAX_LEVELS = 24
"""The most levels of a factor whose means the page lists; ``shap.csv`` has all."""

MeasureIndex = Mapping[tuple[str, str, str], int]
"""(Metric, prompt type, encoder) -> index among the measures of the ranking."""


def analysis_payload(analysis: Analysis, adapters: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The data of the scripts.

    Args:
        analysis: the results to show.
        adapters: those of the page, in its order; each is listed with its setting where the table has ``run_id``.
    """
    ranking = analysis.ranking
    index = {(one.metric, one.prompt_type, one.encoder): at for at, one in enumerate(ranking.measures)}
    features = model_features(ranking.settings)
    swarm = subsample(range(len(ranking.settings)), MAX_SWARM_SETTINGS)
    comparison_rows = _comparison_rows(analysis, index)
    return {
        "measures": [_measure(one, is_mean=one.name not in ranking.rows) for one in ranking.measures],
        "algorithms": titled_algorithms(str(name) for name in ranking.settings["algorithm"]),
        "groups": ranking.groups,
        "factors": [factor for factor in FACTORS if any(one["factor"] == factor for one in comparison_rows)],
        "settings": _setting_rows(ranking, adapters),
        "ranks": _rank_rows(analysis, index),
        "comparisons": comparison_rows,
        "sentences": describe_effects(analysis.effects),
        "correlations": _correlations(analysis, index),
        "factorValues": {name: [_json_value(value) for value in features[name]] for name in features},
        "swarm": swarm,
        "models": [
            {"measure": _position(index, one.measure), **_model_payload(one, features, swarm)}
            for one in analysis.importances
        ],
    }


def _position(index: MeasureIndex, row: Any) -> int:
    return index[row.metric, row.prompt_type, row.encoder]


def _measure(measure: Measure, *, is_mean: bool) -> dict[str, Any]:
    """A measure by its rank, of which 1 is the best whichever direction the score has."""
    about = METRICS[measure.metric].description if measure.metric in METRICS else ""
    return {**asdict(measure), "name": measure.name, "higher_is_better": True, "mean": is_mean, "about": about}


def _setting_rows(ranking: Ranking, adapters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    columns = ranking.settings[list(DISPLAY_COLUMNS)]
    settings = columns.astype(object).where(columns.notna(), None).to_dict("records")
    indices = _adapters_by_setting(ranking, adapters)
    return [{**setting, "adapters": own} for setting, own in zip(settings, indices, strict=True)]


def _rank_rows(analysis: Analysis, index: MeasureIndex) -> list[list[Any]]:
    """Setting x measure: [rank, low, high, standard error], or None."""
    columns = list(DISPLAY_COLUMNS)
    settings = analysis.ranking.settings[columns].to_numpy()
    rows: list[list[Any]] = [[None] * len(index) for _ in settings]
    numbers = {tuple(map(str, setting)): number for number, setting in enumerate(settings)}
    keys = analysis.ranks[columns].astype(object).to_numpy()
    for row, key in zip(analysis.ranks.itertuples(), keys, strict=True):
        ranks = _rounded(row.rank, row.low, row.high, row.standard_error)
        rows[numbers[tuple(map(str, key))]][_position(index, row)] = ranks
    return rows


def _comparison_rows(analysis: Analysis, index: MeasureIndex) -> list[dict[str, Any]]:
    """Every pair of levels with its effect on each measure, [effect, low, high, q, groups], overall and by group."""
    effects: dict[tuple[Any, ...], dict[int, list[Any]]] = {}
    for row in analysis.effects.itertuples():
        numbers = _rounded(row.effect, row.low, row.high, row.q)
        effects.setdefault((row.factor, row.level, row.against), {})[_position(index, row)] = [*numbers, row.groups]
    rows = []
    for one in comparisons(analysis.ranking.settings):
        own = effects.get((one.factor, one.level, one.against))
        if own is None:  # matched, but no concept has scores of both
            continue
        differences = mean_over_pairs(one.rank_differences(analysis.ranking))
        rows.append(
            {
                "factor": one.factor,
                "level": level_label(one.factor, one.level).replace("`", ""),
                "against": level_label(one.factor, one.against).replace("`", ""),
                "pairs": len(one.pairs),
                "effects": [own.get(measure) for measure in range(len(index))],
                "groups": [_rounded(*values) for values in differences],
            }
        )
    return rows


def _correlations(analysis: Analysis, index: MeasureIndex) -> dict[str, Any]:
    order = {one.name: _position(index, one) for one in analysis.correlations.measures}
    return {
        "measures": list(order.values()),
        "matrix": [_rounded(*row) for row in analysis.correlations.matrix],
        "pairs": [
            [order[row.first], order[row.second], row.differ, *_rounded(row.correlation, row.low, row.high)]
            for row in analysis.measure_pairs.itertuples()
        ],
        "agreement": agreement_by_attribute(analysis.measure_pairs).reset_index().to_dict("records"),
    }


def _model_payload(one: Importance, features: pd.DataFrame, swarm: Sequence[int]) -> dict[str, Any]:
    """R² and, where the model explains something, by factor the SHAP values of the swarm, sizes and level means."""
    payload = {"r2": None if one.r2 is None else round(one.r2, 3), "explained": one.is_explained}
    if not one.is_explained:
        return payload
    columns = {
        name: pd.Series(values, index=features.index) for name, values in zip(features, one.shap_values.T, strict=True)
    }
    return {
        **payload,
        "shapValues": [_rounded(*values.iloc[list(swarm)]) for values in columns.values()],
        "meanSizes": _rounded(*(values.abs().mean() for values in columns.values())),
        "levelMeans": [
            [
                [_json_value(level), *_rounded(mean)]
                for level, mean in values.groupby(features[name], dropna=False).mean().items()
            ]
            if features[name].nunique() <= MAX_LEVELS
            else []
            for name, values in columns.items()
        ],
    }


def _adapters_by_setting(ranking: Ranking, adapters: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """The indices of the adapters with each setting."""
    indices: list[list[int]] = [[] for _ in range(len(ranking.settings))]
    rows = ranking.rows[~ranking.rows["aggregate"]]
    if "run_id" in rows:
        numbers = {one.get("run_id"): number for number, one in enumerate(adapters) if one.get("run_id")}
        for setting, run_id in zip(setting_index(rows), rows["run_id"], strict=True):
            if run_id in numbers:
                indices[setting].append(numbers[run_id])
    return indices


def _json_value(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if pd.isna(value) else value


def _rounded(*values: Any) -> list[float | None]:
    """Numbers to four decimals, None for missing ones."""
    return [None if value is None or not math.isfinite(value) else round(float(value), 4) for value in values]
