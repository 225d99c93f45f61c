"""The page of a study: its answer first, then the pictures, scores and analysis that it rests on, all in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from lycoris.analysis.statistics.category_effects import (
    ALL_CATEGORIES,
    describe_category_effects,
    dimension_rows,
    factor_levels,
)
from lycoris.analysis.statistics.effects import LEVEL_SPECIFIC_PROMPTS
from lycoris.analysis.text.effect_text import level_label
from lycoris.analysis.text.formatting import adapter_label, format_interval, format_number
from lycoris.report import REPORT_SCRIPTS
from lycoris.report.analysis import page as analysis_page
from lycoris.report.analysis.files import Analysis
from lycoris.report.run.payload import replace_nonfinite, report_payload
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.templates import write_page
from lycoris.terms import VERDICTS

PAGE_FOLDER = Path(__file__).parent
AXIS_HALF_WIDTH = 70
"""Pixels from the middle of an effect's axis to its ends."""
EffectTables: TypeAlias = pd.DataFrame | Sequence[tuple[str, pd.DataFrame]]


def render(
    effects: EffectTables,
    study: Mapping[str, Any],
    out: Path,
    *,
    factor: str = "",
    question: str = "",
    command: str = "",
    analysis: Analysis | None = None,
    extra_sentences: Sequence[str] = (),
) -> Path:
    """Write a study's page as one HTML file that needs nothing else and asks no network.

    Args:
        effects: of `lycoris.analysis.statistics.category_effects.by_category`; of several factors, (factor,
        effects) pairs.
        study: what was run, as :class:`lycoris.report.run.schema.Study` names it.
        out: the file, which appears whole or not at all.
        factor: whose levels are compared, where `effects` is of one.
        question: in a sentence.
        command: the command line that made it.
        analysis: of the study's ``scores.csv``; without it the page has no ranks, correlations and SHAP values.
        further: sentences of the answer beside those on each factor.

    Returns:
        ``out``.
    """
    pairs = [(factor, effects)] if isinstance(effects, pd.DataFrame) else list(effects)
    study = replace_nonfinite({"title": "Study", **study})
    album = ImageStore()
    page = report_payload(study, album)
    page["factors"] = [name for name, _ in pairs]
    told: dict[str, Any] = {}
    if analysis is not None:
        page["analysis"] = analysis_page.analysis_payload(analysis, page["adapters"])
        known = {name for name, _ in page["algorithms"]}
        page["algorithms"] += [pair for pair in page["analysis"]["algorithms"] if pair[0] not in known]
        told = analysis_page.template_context(analysis)
    page["pictures"] = album.encode()
    parts = [_factor_section(name, table) for name, table in pairs]
    champions = [one for one in page["adapters"] if one.get("champion") and not one.get("error")]
    return write_page(
        "answer.html",
        out,
        folder=PAGE_FOLDER,
        styles=[analysis_page.PAGE_FOLDER / "analysis.css", PAGE_FOLDER / "answer.css"],
        scripts=[
            *REPORT_SCRIPTS[:-1],
            PAGE_FOLDER / "overview.js",
            REPORT_SCRIPTS[-1],
            *([analysis_page.ANALYSIS_SCRIPTS] if analysis is not None else []),
        ],
        data=page,
        page=page,
        study=study,
        unread=album.unreadable,
        question=question,
        command=command,
        parts=parts,
        further=extra_sentences,
        champions=champions,
        tally=_champion_counts(champions),
        every=ALL_CATEGORIES,
        **{"analysis": None, **told, "title": study["title"]},
    )


def _factor_section(factor: str, effects: pd.DataFrame) -> dict[str, Any]:
    """What the page says of one factor."""
    table = dimension_rows(effects)
    present = list(dict.fromkeys(table["category"]))
    ends = table[["effect", "low", "high"]].astype(float).abs().max().max()
    reach = max(0.1, 0.0 if pd.isna(ends) else float(ends))
    sections = [
        {
            "category": category,
            "names": list(dict.fromkeys(table["metric"])),
            "rows": _comparison_rows(factor, table[table["category"] == category], reach),
        }
        for category in present
    ]
    whole = [one for one in sections if one["category"] == ALL_CATEGORIES]
    categories = [one for one in sections if one["category"] != ALL_CATEGORIES]
    return {
        "factor": factor.replace("_", " "),
        "levels": [level_label(factor, level) for level in factor_levels(effects)],
        "whole": whole,
        "categories": categories,
        "said": _summary(whole, categories),
        "sentences": describe_category_effects(effects),
        "own_prompts": LEVEL_SPECIFIC_PROMPTS.get(factor, ()),
    }


def _comparison_rows(factor: str, table: pd.DataFrame, reach: float) -> list[dict[str, Any]]:
    """One row a pair of levels, one cell a dimension; places on an axis of 150 pixels."""
    rows = []
    for (level, against), own in table.groupby(["level", "against"], sort=False):
        first = own.iloc[0]
        cells = {one["metric"]: _effect_cell(one, reach) for one in own.to_dict("records")}
        counts = {name: int(first[name]) for name in ("pairs", "concepts")}
        rows.append(
            {"level": level_label(factor, level), "against": level_label(factor, against), "cells": cells, **counts}
        )
    return rows


def _effect_cell(one: Mapping[str, Any], reach: float) -> dict[str, Any]:
    known = one["low"] is not None and not pd.isna(one["low"])
    low, high = (one["low"], one["high"]) if known else (0.0, 0.0)
    verdict = "unknown" if not known else "none" if low <= 0 <= high else "better" if low > 0 else "worse"

    def place(value: float) -> float:
        return round(75 + AXIS_HALF_WIDTH * max(-1.0, min(1.0, value / reach)), 1)

    return {
        "name": one["metric"],
        "value": format_number(one["effect"], 2, signed=True),
        "interval": format_interval(low, high, 2) if known else "",
        "verdict": verdict,
        "middle": place(one["effect"]),
        "low": place(low),
        "high": place(high),
    }


def _summary(whole: Sequence[Mapping[str, Any]], categories: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is said first: over all categories, or, where these are too few for intervals, of each."""
    every = [_comparison_summary(row) for one in whole for row in one["rows"]]
    if any(one["better"] or one["worse"] or one["none"] for one in every):
        return every
    each = [{**_comparison_summary(row), "where": one["category"]} for one in categories for row in one["rows"]]
    return each or every


def _comparison_summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison's dimensions by what is shown of them; those without a difference by name alone."""
    by: dict[str, list[Any]] = {
        verdict: [cell for cell in row["cells"].values() if cell["verdict"] == verdict] for verdict in VERDICTS
    }
    return {"level": row["level"], "against": row["against"], **by, "none": [cell["name"] for cell in by["none"]]}


def _champion_counts(champions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ways that are best for some concept, with the concepts, the commonest first."""
    found: dict[str, list[str]] = {}
    for one in champions:
        found.setdefault(adapter_label(one, with_seed=False), []).append(one["concept"])
    return [
        {"name": name, "concepts": concepts} for name, concepts in sorted(found.items(), key=lambda pair: -len(pair[1]))
    ]
