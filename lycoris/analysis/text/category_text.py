"""Effects in each category of concepts, in sentences."""

from __future__ import annotations

import pandas as pd

from lycoris.analysis.statistics.category_effects import (
    ALL_CATEGORIES,
    THIRD_FINDING_SIGNS,
    dimension_rows,
    third_finding_by_category,
)
from lycoris.analysis.text.formatting import format_interval, format_number


def describe_category_effects(effects: pd.DataFrame) -> list[str]:
    """The effects on each dimension, one sentence per category and pair of levels.

    Args:
        effects: of :func:`lycoris.analysis.statistics.category_effects.effects_by_category`.
    """
    sentences = []
    table = dimension_rows(effects)
    for (category, level, against), own in table.groupby(["category", "level", "against"], sort=False):
        parts = [
            f"{row.metric} {format_number(row.effect, 2, signed=True)}"
            + ("" if pd.isna(row.low) else f" {format_interval(row.low, row.high, 2)}")
            for row in own.itertuples()
        ]
        where = "all categories" if category == ALL_CATEGORIES else category
        first, second = (raw_level_label(own["factor"].iloc[0], each) for each in (level, against))
        sentences.append(f"{where}: {first} instead of {second}: {', '.join(parts)}.")
    verdicts = third_finding_by_category(effects)
    verdicts.pop(ALL_CATEGORIES, None)
    if verdicts:
        confirmed = [
            category for category, own in verdicts.items() if all(own.get(name) for name in THIRD_FINDING_SIGNS)
        ]
        sentences.append(
            "Finding 3 of arXiv 2309.14859 (`none` against `all`: fidelity up, controllability and preservation down), "
            f"with intervals that exclude 0: in {len(confirmed)} of {len(verdicts)} categories"
            + (f" ({', '.join(confirmed)})." if confirmed else ".")
        )
    return sentences


def raw_level_label(factor: str, level: object) -> str:
    """A level as the table has it: ```none```, or a number with the factor's name, ``dim 8``."""
    return f"{factor.replace('_', ' ')} {level:g}" if isinstance(level, int | float) else f"`{level}`"
