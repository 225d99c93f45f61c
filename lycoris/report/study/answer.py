"""The answer of a study to one factor: its effects as a summary and as tables of dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lycoris.analysis.statistics.category_effects import ALL_CATEGORIES, dimension_rows, factor_levels
from lycoris.analysis.statistics.effects import LEVEL_SPECIFIC_PROMPTS
from lycoris.analysis.text.category_text import describe_category_effects
from lycoris.analysis.text.effect_text import level_label
from lycoris.analysis.text.formatting import format_interval, format_number
from lycoris.terms import Verdict

AXIS_MIDDLE, AXIS_HALF_WIDTH = 75, 70
"""The place of 0 on an effect's axis, and the distance from there to its ends, in pixels."""


@dataclass(frozen=True)
class EffectCell:
    """The effect on one dimension.

    Attributes:
        name: the dimension.
        value: the effect, formatted.
        interval: its interval, formatted; empty where there is none.
        verdict: what it shows.
        middle, low, high: the places of the effect and its ends on the axis, in pixels.
    """

    name: str
    value: str
    interval: str
    verdict: Verdict
    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class ComparisonRow:
    """One pair of levels: dimension -> cell, from how many pairs of runs and concepts."""

    level: str
    against: str
    cells: dict[str, EffectCell]
    pairs: int
    concepts: int


@dataclass(frozen=True)
class CategoryTable:
    """The comparisons of one category, and the dimensions that are its columns."""

    category: str
    names: list[str]
    rows: list[ComparisonRow]


@dataclass(frozen=True)
class SummaryLine:
    """A comparison in a line: the cells by verdict; `category` is empty where the line is of all categories."""

    level: str
    against: str
    better: list[EffectCell]
    worse: list[EffectCell]
    none: list[EffectCell]
    unknown: list[EffectCell]
    category: str = ""


@dataclass(frozen=True)
class FactorAnswer:
    """What the page prints of one factor.

    Attributes:
        name: the factor.
        levels: its levels.
        overall: the table over all categories, if there is one.
        categories: a table per category.
        summary: the lines that come first.
        sentences: all effects in words.
        excluded_prompt_types: prompt types that differ between levels and are left out.
    """

    name: str
    levels: list[str]
    overall: list[CategoryTable]
    categories: list[CategoryTable]
    summary: list[SummaryLine]
    sentences: list[str]
    excluded_prompt_types: tuple[str, ...]


def factor_answer(factor: str, effects: pd.DataFrame) -> FactorAnswer:
    """The answer of a study to one factor.

    Args:
        factor: its name.
        effects: its table of `lycoris.analysis.statistics.category_effects.effects_by_category`.
    """
    table = dimension_rows(effects)
    largest = table[["effect", "low", "high"]].astype(float).abs().max().max()
    axis_end = max(0.1, 0.0 if pd.isna(largest) else float(largest))
    names = list(dict.fromkeys(table["metric"]))
    tables = [
        CategoryTable(category, names, _comparison_rows(factor, table[table["category"] == category], axis_end))
        for category in dict.fromkeys(table["category"])
    ]
    overall = [one for one in tables if one.category == ALL_CATEGORIES]
    categories = [one for one in tables if one.category != ALL_CATEGORIES]
    return FactorAnswer(
        name=factor.replace("_", " "),
        levels=[level_label(factor, level) for level in factor_levels(effects)],
        overall=overall,
        categories=categories,
        summary=_summary(overall, categories),
        sentences=describe_category_effects(effects),
        excluded_prompt_types=LEVEL_SPECIFIC_PROMPTS.get(factor, ()),
    )


def _comparison_rows(factor: str, table: pd.DataFrame, axis_end: float) -> list[ComparisonRow]:
    rows = []
    for (level, against), own in table.groupby(["level", "against"], sort=False):
        cells = {
            row.metric: _effect_cell(row.metric, row.effect, row.low, row.high, axis_end) for row in own.itertuples()
        }
        pairs, concepts = (int(own.iloc[0][name]) for name in ("pairs", "concepts"))
        rows.append(ComparisonRow(level_label(factor, level), level_label(factor, against), cells, pairs, concepts))
    return rows


def effect_verdict(low: float | None, high: float | None) -> Verdict:
    """What the interval of a difference in rank shows; larger is better."""
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return "unknown"
    return "none" if low <= 0 <= high else "better" if low > 0 else "worse"


def _effect_cell(name: str, effect: float, low: float | None, high: float | None, axis_end: float) -> EffectCell:
    verdict = effect_verdict(low, high)
    ends = (0.0, 0.0) if verdict == "unknown" or low is None or high is None else (low, high)

    def position(value: float) -> float:
        return round(AXIS_MIDDLE + AXIS_HALF_WIDTH * max(-1.0, min(1.0, value / axis_end)), 1)

    return EffectCell(
        name,
        value=format_number(effect, 2, signed=True),
        interval="" if verdict == "unknown" else format_interval(*ends, 2),
        verdict=verdict,
        middle=position(effect),
        low=position(ends[0]),
        high=position(ends[1]),
    )


def _summary(overall: Sequence[CategoryTable], categories: Sequence[CategoryTable]) -> list[SummaryLine]:
    """A line per comparison over all categories; where these are too few for intervals, one per category."""
    lines = [_summary_line(row) for table in overall for row in table.rows]
    if any(line.better or line.worse or line.none for line in lines):
        return lines
    return [_summary_line(row, table.category) for table in categories for row in table.rows] or lines


def _summary_line(row: ComparisonRow, category: str = "") -> SummaryLine:
    cells: dict[Verdict, list[EffectCell]] = {"better": [], "worse": [], "none": [], "unknown": []}
    for cell in row.cells.values():
        cells[cell.verdict].append(cell)
    return SummaryLine(row.level, row.against, **cells, category=category)
