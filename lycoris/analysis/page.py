"""The page of an analysis: one HTML file in the look of the report, that needs nothing else and asks no network."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

import lycoris.report as report
from lycoris.analysis.analysis import Analysis
from lycoris.analysis.correlations import agreement
from lycoris.analysis.effects import FACTORS, by_group, comparisons
from lycoris.analysis.importance import features
from lycoris.analysis.ranking import SHOWN
from lycoris.analysis.sentences import leading, named, sentences
from lycoris.metrics.table import METRICS
from lycoris.report.payload import in_script
from lycoris.report.scores import rank as place
from lycoris.report.words import TITLES, title

HERE = Path(__file__).parent
REPORT = Path(report.__file__).parent
SHARED = ("page.js", "table.js", "tradeoff.js")
"""The report's scripts that the page is drawn with as well."""
SCRIPTS = ("choices.js", "tradeoffs.js", "correlations.js", "importance.js", "start.js")


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
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages.filters["coded"] = coded
    rows = analysis.ranking.rows
    html = pages.get_template("analysis.html").render(
        title=title,
        command=command,
        analysis=analysis,
        runs=len(rows.drop_duplicates(["base", "strength", "config", "epoch", "seed"])),
        configurations=rows["config"].nunique(),
        measures=sum(measure.name in rows for measure in analysis.ranking.measures),
        sentences=sentences(analysis.effects),
        leading=leading(analysis.leaders),
        style=Markup((REPORT / "report.css").read_text() + (HERE / "analysis.css").read_text()),
        script=Markup("\n".join([*_texts(REPORT, SHARED), *_texts(HERE, SCRIPTS)])),
        data=Markup(in_script(payload(analysis))),
    )
    return report.write_page(html, out)


def coded(text: object) -> Markup:
    """A sentence in which what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _texts(folder: Path, names: tuple[str, ...]) -> list[str]:
    return [(folder / name).read_text() for name in names]


def payload(analysis: Analysis) -> dict[str, Any]:
    """Everything the page's scripts need; measures, adapter settings and groups are told by their places in lists."""
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
        "arms": arms.to_dict("records"),
        "ranks": ranks,
        "comparisons": found,
        "correlations": {
            "measures": [at(one) for one in analysis.correlations.measures],
            "matrix": [_short(*row) for row in analysis.correlations.matrix],
            "agreement": agreement(analysis.correlated).reset_index().to_dict("records"),
        },
        "factorValues": {name: [_plain(value) for value in shown[name]] for name in shown},
        "models": [
            {
                "measure": at(one.measure),
                "r2": None if one.r2 is None else round(one.r2, 3),
                "explained": one.explained,
                "values": [_short(*column) for column in one.values.T] if one.explained else None,
            }
            for one in analysis.models
        ],
        # What the report's scripts ask for, and a page without pictures has none of.
        **{name: [] for name in ("concepts", "kinds", "captions", "adapters", "pictures")},
    }


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if pd.isna(value) else value


def _short(*values: Any) -> list[float | None]:
    """Numbers to four decimals, None for those that are not there."""
    return [None if value is None or not math.isfinite(value) else round(float(value), 4) for value in values]
