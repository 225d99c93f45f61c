"""The page of an analysis: one HTML file in the look of the report, that needs nothing else and asks no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.statistics.correlations import agreement
from lycoris.analysis.statistics.effects import FACTORS, by_group, comparisons
from lycoris.analysis.statistics.importance import Importance, features
from lycoris.analysis.statistics.ranking import SHOWN, Ranking, arm_of_rows
from lycoris.analysis.statistics.score_verdicts import rank as place
from lycoris.analysis.text.effect_text import leading, named, sentences
from lycoris.analysis.text.formatting import TITLES, title
from lycoris.metrics.registry import METRICS
from lycoris.report.analysis.files import Analysis
from lycoris.report.run.image_selection import evenly
from lycoris.report.shared.templates import HERE as REPORT
from lycoris.report.shared.templates import write_page

HERE = Path(__file__).parent
SHARED = [REPORT / name for name in ("page.js", "plot.js", "sortable.js")]
"""The report's scripts that the page is drawn with as well."""
SCRIPTS = [HERE / f"{name}.js" for name in ("choices", "tradeoffs", "correlations", "importance", "start")]
"""Drawn in a block of their own, because some of their names are those of the report's parts."""
SWARM = 300
"""So many adapter settings, evenly chosen, are drawn in a swarm of SHAP values; `shap.csv` and the means are of all."""
LEVELS = 24
"""Of a factor with more levels than this the means of each are left to `shap.csv`."""
NO_PICTURES: dict[str, list[Any]] = {
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
    found = payload(analysis)
    return write_page(
        "analysis.html",
        out,
        folder=HERE,
        styles=[HERE / "analysis.css"],
        scripts=[*SHARED, SCRIPTS],
        data={**NO_PICTURES, "algorithms": found["algorithms"], "analysis": found},
        title=title,
        command=command,
        **told(analysis),
    )


def told(analysis: Analysis) -> dict[str, Any]:
    """What the sections of an analysis print."""
    rows = analysis.ranking.rows
    return {
        "analysis": analysis,
        "runs": len(rows.drop_duplicates(["base", "strength", "config", "epoch", "seed"])),
        "configurations": rows["config"].nunique(),
        "measures": sum(measure.name in rows for measure in analysis.ranking.measures),
        "sentences": sentences(analysis.effects),
        "leading": leading(analysis.leaders),
    }


def payload(analysis: Analysis, adapters: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Everything the page's scripts need; measures, adapter settings and groups are told by their places in lists.

    Args:
        analysis: what was found.
        adapters: those of the page, in its order; told beside their settings where the table knows their ``run_id``.
    """
    ranking = analysis.ranking
    places = {(one.metric, one.prompt_type, one.encoder): at for at, one in enumerate(ranking.measures)}

    def at(row: Any) -> int:
        return places[row.metric, row.prompt_type, row.encoder]

    arms = ranking.arms[list(SHOWN)].astype(object).where(ranking.arms[list(SHOWN)].notna(), None)
    ranks: list[list[Any]] = [[None] * len(ranking.measures) for _ in range(len(arms))]
    keys = {tuple(map(str, row)): arm for arm, row in enumerate(ranking.arms[list(SHOWN)].to_numpy())}
    for row, key in zip(
        analysis.ranks.itertuples(), analysis.ranks[list(SHOWN)].astype(object).to_numpy(), strict=True
    ):
        ranks[keys[tuple(map(str, key))]][at(row)] = _short(row.rank, row.low, row.high, row.standard_error)

    found = []
    effects: dict[tuple[Any, ...], dict[int, list[Any]]] = {}
    for row in analysis.effects.itertuples():
        told = _short(row.effect, row.low, row.high, row.q)
        effects.setdefault((row.factor, row.level, row.against), {})[at(row)] = [*told, row.groups]
    for one in comparisons(ranking.arms):
        own = effects.get((one.factor, one.level, one.against))
        if own is None:  # matched, but scored on no concept together
            continue
        found.append(
            {
                "factor": one.factor,
                "level": named(one.factor, one.level).replace("`", ""),
                "against": named(one.factor, one.against).replace("`", ""),
                "pairs": len(one.pairs),
                "effects": [own.get(measure) for measure in range(len(ranking.measures))],
                "groups": [_short(*values) for values in by_group(one.gaps(ranking))],
            }
        )
    shown = features(ranking.arms)
    swarm = evenly(range(len(arms)), SWARM)
    known = sorted({str(name) for name in ranking.arms["algorithm"]}, key=lambda name: place(TITLES, name))
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
                "about": METRICS[one.metric].about if one.metric in METRICS else "",
            }
            for one in ranking.measures
        ],
        "algorithms": [[name, title(name)] for name in known],
        "groups": ranking.groups,
        "factors": [factor for factor in FACTORS if any(one["factor"] == factor for one in found)],
        "arms": [
            {**arm, "runs": runs} for arm, runs in zip(arms.to_dict("records"), _runs(ranking, adapters), strict=True)
        ],
        "ranks": ranks,
        "comparisons": found,
        "correlations": {
            "measures": [at(one) for one in analysis.correlations.measures],
            "matrix": [_short(*row) for row in analysis.correlations.matrix],
            "pairs": _pairs(analysis, {one.name: at(one) for one in analysis.correlations.measures}),
            "agreement": agreement(analysis.correlated).reset_index().to_dict("records"),
        },
        "factorValues": {name: [_plain(value) for value in shown[name]] for name in shown},
        "swarm": swarm,
        "models": [{"measure": at(one.measure), **_model(one, shown, swarm)} for one in analysis.models],
    }


def _model(one: Importance, shown: pd.DataFrame, swarm: Sequence[int]) -> dict[str, Any]:
    """A model's R² and, where it explains, SHAP values: by factor those of the swarm, and over all arms their mean size
    and the mean of each level."""
    told = {"r2": None if one.r2 is None else round(one.r2, 3), "explained": one.explained}
    if not one.explained:
        return told
    columns = {name: pd.Series(values, index=shown.index) for name, values in zip(shown, one.values.T, strict=True)}
    return {
        **told,
        "values": [_short(*values.iloc[list(swarm)]) for values in columns.values()],
        "sizes": _short(*(values.abs().mean() for values in columns.values())),
        "means": [
            [[_plain(level), *_short(mean)] for level, mean in values.groupby(shown[name], dropna=False).mean().items()]
            if shown[name].nunique() <= LEVELS
            else []
            for name, values in columns.items()
        ],
    }


def _pairs(analysis: Analysis, places: Mapping[str, int]) -> list[list[Any]]:
    """Every two measures by their places, what they differ in, their correlation and its interval."""
    return [
        [places[row.first], places[row.second], row.differ, *_short(row.correlation, row.low, row.high)]
        for row in analysis.correlated.itertuples()
    ]


def _runs(ranking: Ranking, adapters: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """For each adapter setting the places of its adapters."""
    found: list[list[int]] = [[] for _ in range(len(ranking.arms))]
    rows = ranking.rows[~ranking.rows["aggregate"]]
    if "run_id" in rows:
        places = {one.get("run_id"): place for place, one in enumerate(adapters) if one.get("run_id")}
        for arm, run in zip(arm_of_rows(rows), rows["run_id"], strict=True):
            if run in places:
                found[arm].append(places[run])
    return found


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if pd.isna(value) else value


def _short(*values: Any) -> list[float | None]:
    """Numbers to four decimals, None for those that are not there."""
    return [None if value is None or not math.isfinite(value) else round(float(value), 4) for value in values]
