"""The page of an analysis: one HTML file in the look of the report, that needs nothing else and asks no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.statistics.correlations import agreement_by_attribute
from lycoris.analysis.statistics.effects import FACTORS, comparisons, mean_over_pairs
from lycoris.analysis.statistics.importance import Importance, model_features
from lycoris.analysis.statistics.ranking import DISPLAY_COLUMNS, Ranking, setting_index
from lycoris.analysis.statistics.score_verdicts import order_key as place
from lycoris.analysis.text.effect_text import describe_effects, describe_leads, level_label
from lycoris.analysis.text.formatting import algorithm_title, algorithm_titles
from lycoris.metrics.registry import METRICS
from lycoris.report.analysis.files import Analysis
from lycoris.report.run.image_selection import subsample
from lycoris.report.shared.templates import PAGE_FOLDER as REPORT
from lycoris.report.shared.templates import write_page

PAGE_FOLDER = Path(__file__).parent
SHARED_SCRIPTS = [REPORT / name for name in ("page.js", "plot.js", "sortable.js")]
"""The report's scripts that the page is drawn with as well."""
ANALYSIS_SCRIPTS = [
    PAGE_FOLDER / f"{name}.js" for name in ("choices", "tradeoffs", "correlations", "importance", "start")
]
"""Drawn in a block of their own, because some of their names are those of the report's parts."""
MAX_SWARM_SETTINGS = 300
"""So many adapter settings, evenly chosen, are drawn in a swarm of SHAP values; `shap.csv` and the means are of all."""
MAX_LEVELS = 24
"""Of a factor with more levels than this the means of each are left to `shap.csv`."""
EMPTY_REPORT: dict[str, list[Any]] = {
    name: []
    for name in ("concepts", "kinds", "captions", "adapters", "bases", "pictures", "prompts", "measures", "settings")
}
"""What the report's scripts ask for, and a page without pictures has none of."""


def render(analysis: Analysis, out: Path, *, title: str, command: str = "") -> Path:
    """Write the page of an analysis.

    Args:
        analysis: what was found.
        out: the file, which appears whole or not at all.
        title: its heading.
        command: the command line that made it.

    Returns:
        ``out``.
    """
    found = analysis_payload(analysis)
    return write_page(
        "analysis.html",
        out,
        folder=PAGE_FOLDER,
        styles=[PAGE_FOLDER / "analysis.css"],
        scripts=[*SHARED_SCRIPTS, ANALYSIS_SCRIPTS],
        data={**EMPTY_REPORT, "algorithms": found["algorithms"], "analysis": found},
        title=title,
        command=command,
        **template_context(analysis),
    )


def template_context(analysis: Analysis) -> dict[str, Any]:
    """What the sections of an analysis print."""
    rows = analysis.ranking.rows
    return {
        "analysis": analysis,
        "runs": len(rows.drop_duplicates(["base", "strength", "config", "epoch", "seed"])),
        "configurations": rows["config"].nunique(),
        "measures": sum(measure.name in rows for measure in analysis.ranking.measures),
        "sentences": describe_effects(analysis.effects),
        "leading": describe_leads(analysis.leaders),
    }


def analysis_payload(analysis: Analysis, adapters: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Everything the page's scripts need; measures, adapter settings and groups are told by their places in lists.

    Args:
        analysis: what was found.
        adapters: those of the page, in its order; told beside their settings where the table knows their ``run_id``.
    """
    ranking = analysis.ranking
    places = {(one.metric, one.prompt_type, one.encoder): at for at, one in enumerate(ranking.measures)}

    def at(row: Any) -> int:
        return places[row.metric, row.prompt_type, row.encoder]

    arms = (
        ranking.settings[list(DISPLAY_COLUMNS)]
        .astype(object)
        .where(ranking.settings[list(DISPLAY_COLUMNS)].notna(), None)
    )
    ranks: list[list[Any]] = [[None] * len(ranking.measures) for _ in range(len(arms))]
    keys = {tuple(map(str, row)): arm for arm, row in enumerate(ranking.settings[list(DISPLAY_COLUMNS)].to_numpy())}
    for row, key in zip(
        analysis.ranks.itertuples(), analysis.ranks[list(DISPLAY_COLUMNS)].astype(object).to_numpy(), strict=True
    ):
        ranks[keys[tuple(map(str, key))]][at(row)] = _rounded(row.rank, row.low, row.high, row.standard_error)

    found = []
    effects: dict[tuple[Any, ...], dict[int, list[Any]]] = {}
    for row in analysis.effects.itertuples():
        told = _rounded(row.effect, row.low, row.high, row.q)
        effects.setdefault((row.factor, row.level, row.against), {})[at(row)] = [*told, row.groups]
    for one in comparisons(ranking.settings):
        own = effects.get((one.factor, one.level, one.against))
        if own is None:  # matched, but scored on no concept together
            continue
        found.append(
            {
                "factor": one.factor,
                "level": level_label(one.factor, one.level).replace("`", ""),
                "against": level_label(one.factor, one.against).replace("`", ""),
                "pairs": len(one.pairs),
                "effects": [own.get(measure) for measure in range(len(ranking.measures))],
                "groups": [_rounded(*values) for values in mean_over_pairs(one.rank_differences(ranking))],
            }
        )
    shown = model_features(ranking.settings)
    swarm = subsample(range(len(arms)), MAX_SWARM_SETTINGS)
    known = sorted(
        {str(name) for name in ranking.settings["algorithm"]}, key=lambda name: place(algorithm_titles(), name)
    )
    return {
        "measures": [
            {
                "name": one.name,
                "metric": one.metric,
                "prompt_type": one.prompt_type,
                "encoder": one.encoder,
                "dimension": one.dimension,
                "higher_is_better": True,  # of ranks, 1 is the best
                "mean": one.name not in ranking.rows,
                "about": METRICS[one.metric].description if one.metric in METRICS else "",
            }
            for one in ranking.measures
        ],
        "algorithms": [[name, algorithm_title(name)] for name in known],
        "groups": ranking.groups,
        "factors": [factor for factor in FACTORS if any(one["factor"] == factor for one in found)],
        "arms": [
            {**arm, "runs": runs}
            for arm, runs in zip(arms.to_dict("records"), _adapters_by_setting(ranking, adapters), strict=True)
        ],
        "ranks": ranks,
        "comparisons": found,
        "correlations": {
            "measures": [at(one) for one in analysis.correlations.measures],
            "matrix": [_rounded(*row) for row in analysis.correlations.matrix],
            "pairs": _pair_rows(analysis, {one.name: at(one) for one in analysis.correlations.measures}),
            "agreement": agreement_by_attribute(analysis.measure_pairs).reset_index().to_dict("records"),
        },
        "factorValues": {name: [_json_value(value) for value in shown[name]] for name in shown},
        "swarm": swarm,
        "models": [{"measure": at(one.measure), **_model_payload(one, shown, swarm)} for one in analysis.importances],
    }


def _model_payload(one: Importance, shown: pd.DataFrame, swarm: Sequence[int]) -> dict[str, Any]:
    """A model's R² and, where it explains, SHAP values: by factor those of the swarm, and over all arms their mean size
    and the mean of each level."""
    told = {"r2": None if one.r2 is None else round(one.r2, 3), "explained": one.is_explained}
    if not one.is_explained:
        return told
    columns = {
        name: pd.Series(values, index=shown.index) for name, values in zip(shown, one.shap_values.T, strict=True)
    }
    return {
        **told,
        "values": [_rounded(*values.iloc[list(swarm)]) for values in columns.values()],
        "sizes": _rounded(*(values.abs().mean() for values in columns.values())),
        "means": [
            [
                [_json_value(level), *_rounded(mean)]
                for level, mean in values.groupby(shown[name], dropna=False).mean().items()
            ]
            if shown[name].nunique() <= MAX_LEVELS
            else []
            for name, values in columns.items()
        ],
    }


def _pair_rows(analysis: Analysis, places: Mapping[str, int]) -> list[list[Any]]:
    """Every two measures by their places, what they differ in, their correlation and its interval."""
    return [
        [places[row.first], places[row.second], row.differ, *_rounded(row.correlation, row.low, row.high)]
        for row in analysis.measure_pairs.itertuples()
    ]


def _adapters_by_setting(ranking: Ranking, adapters: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """For each adapter setting the places of its adapters."""
    found: list[list[int]] = [[] for _ in range(len(ranking.settings))]
    rows = ranking.rows[~ranking.rows["aggregate"]]
    if "run_id" in rows:
        places = {one.get("run_id"): place for place, one in enumerate(adapters) if one.get("run_id")}
        for arm, run in zip(setting_index(rows), rows["run_id"], strict=True):
            if run in places:
                found[arm].append(places[run])
    return found


def _json_value(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if pd.isna(value) else value


def _rounded(*values: Any) -> list[float | None]:
    """Numbers to four decimals, None for those that are not there."""
    return [None if value is None or not math.isfinite(value) else round(float(value), 4) for value in values]
