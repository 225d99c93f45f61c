"""Effects in sentences, one per comparison."""

from __future__ import annotations

import pandas as pd

from lycoris.analysis.statistics.measures import ALL_COMBINED
from lycoris.analysis.text.formatting import algorithm_title, format_interval, format_number

_NUMERIC_FACTORS = ("learning_rate", "epoch", "pictures", "dim", "alpha", "factor")
"""Factors whose levels are numbers, printed after the factor's name."""
_FACTOR_NAMES = {"pictures": "images"}
"""Factors that are printed under another name than the column of the table."""


def factor_name(factor: str) -> str:
    """A factor as sentences and pages print it."""
    return _FACTOR_NAMES.get(factor, factor).replace("_", " ")


def level_label(factor: str, level: object) -> str:
    """A level as a sentence names it: ``LoKr``, ```none```, ``learning rate 0.001``."""
    text = f"{level:g}" if isinstance(level, float) else str(level)
    if factor == "algorithm":
        return algorithm_title(text)
    if factor in ("captions", "preset", "times"):
        return f"`{text}`"
    return f"{factor_name(factor)} {text}" if factor in _NUMERIC_FACTORS else text


def describe_effects(effects: pd.DataFrame) -> list[str]:
    """The effect of every comparison on each dimension.

    Args:
        effects: of :func:`lycoris.analysis.statistics.effects.compute_effects`.

    Returns:
        Sentences such as "`none` instead of `all`: fidelity +.28 rank [.25, .31], controllability −.31 [−.35, −.27].";
        a difference whose interval includes 0 is in parentheses.
    """
    dimensions = effects[(effects["prompt_type"] == ALL_COMBINED) & (effects["encoder"] == ALL_COMBINED)]
    described, sentences = set(), []
    for (factor, level, against), own in dimensions.groupby(["factor", "level", "against"], sort=False):
        if (factor, against, level) in described:
            continue
        described.add((factor, level, against))
        parts = []
        for index, row in enumerate(own.itertuples()):
            value = format_number(row.effect, 2, signed=True) + (" rank" if index == 0 else "")
            text = f"{row.metric} {value} {format_interval(row.low, row.high, 2)}".rstrip()
            shown = row.low is not None and (row.low > 0 or row.high < 0)
            parts.append(text if shown else f"({text})")
        sentences.append(f"{level_label(factor, level)} instead of {level_label(factor, against)}: {', '.join(parts)}.")
    return sentences


def describe_leads(leaders: pd.DataFrame) -> str:
    """Which algorithm leads how many measures, in one sentence; empty without algorithms to compare."""
    if leaders.empty:
        return ""
    total = int(leaders["measures"].max())
    everywhere = [str(name) for name, row in leaders.iterrows() if row["led"] == total]
    counts = ", ".join(
        f"{algorithm_title(str(name))} {row['led']} ({row['shown']} shown)" for name, row in leaders.iterrows()
    )
    leader = algorithm_title(everywhere[0]) if everywhere else "No algorithm"
    return f"{leader} leads on every measure; measures led, of {total}: {counts}."
