"""Effects in words, one sentence a comparison."""

from __future__ import annotations

import pandas as pd

from lycoris.analysis.statistics.measures import ALL_COMBINED
from lycoris.analysis.text.formatting import algorithm_title, format_interval, format_number

_NUMERIC_FACTORS = ("learning_rate", "epoch", "pictures", "dim", "alpha", "factor")
"""Factors whose levels are numbers, which stand behind the factor's name."""


def level_label(factor: str, level: object) -> str:
    """A level as a sentence names it: ``LoKr``, ```none```, ``learning rate 0.001``."""
    text = f"{level:g}" if isinstance(level, float) else str(level)
    if factor == "algorithm":
        return algorithm_title(text)
    return (
        f"`{text}`"
        if factor in ("captions", "preset")
        else (f"{factor.replace('_', ' ')} " if factor in _NUMERIC_FACTORS else "") + text
    )


def describe_effects(effects: pd.DataFrame) -> list[str]:
    """What every comparison does to each dimension.

    Args:
        effects: of :func:`lycoris.analysis.statistics.effects.effects`.

    Returns:
        Such as "`none` instead of `all`: fidelity +.28 rank [.25, .31], controllability −.31 [−.35, −.27]."; a
        difference whose interval holds 0 stands in parentheses.
    """
    whole = effects[(effects["prompt_type"] == ALL_COMBINED) & (effects["encoder"] == ALL_COMBINED)]
    seen, said = set(), []
    for (factor, level, against), own in whole.groupby(["factor", "level", "against"], sort=False):
        if (factor, against, level) in seen:
            continue
        seen.add((factor, level, against))
        parts = []
        for place, row in enumerate(own.itertuples()):
            unit = " rank" if place == 0 else ""
            text = f"{row.metric} {format_number(row.effect, 2, signed=True)}{unit} {format_interval(row.low, row.high, 2)}".rstrip()  # noqa: E501
            shown = row.low is not None and (row.low > 0 or row.high < 0)
            parts.append(text if shown else f"({text})")
        said.append(f"{level_label(factor, level)} instead of {level_label(factor, against)}: {', '.join(parts)}.")
    return said


def describe_leads(leaders: pd.DataFrame) -> str:
    """Who leads how many measures, in one sentence; empty without algorithms to compare."""
    if leaders.empty:
        return ""
    total = int(leaders["measures"].max())
    every = [name for name, row in leaders.iterrows() if row["led"] == total]
    counts = ", ".join(
        f"{algorithm_title(str(name))} {row['led']} ({row['shown']} shown)" for name, row in leaders.iterrows()
    )
    first = (
        f"{algorithm_title(str(every[0]))} leads on every measure" if every else "No algorithm leads on every measure"
    )
    return f"{first}; of {total} measures lead: {counts}."
