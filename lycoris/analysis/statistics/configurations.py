"""What each configuration is: its settings, and where they stand beside the default of its algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.io.csv_files import numbers, read
from lycoris.errors import InputError

NAMES = {
    "config": ("config", "configuration"),
    "algorithm": ("algo", "algorithm"),
    "preset": ("preset",),
    "captions": ("caption", "captions", "tag_strategy"),
    "dim": ("dim", "rank", "network_dim"),
    "alpha": ("alpha", "network_alpha"),
    "factor": ("factor",),
    "learning_rate": ("lr", "learning_rate"),
    "epoch": ("epoch", "steps"),
    "pictures": ("pictures",),
}
"""Setting -> names its column may have, in any case."""
NUMBERS = ("dim", "alpha", "factor", "learning_rate", "epoch", "pictures")
CAPTIONS = {".txt": "adjusted", ".txtdb": "none", ".txttags": "all"}
"""Caption files of the published runs -> tag strategy."""
SUFFIXES = {"-db": "none", "-alltags": "all"}
"""Ends of published configuration names -> tag strategy; any other is `adjusted`."""
UNDECOMPOSED = 10_000
"""A LoKr dimension so large leaves the second factor whole."""
UNTOLD = "default"
"""What a setting is called that a table does not tell."""
DEFAULTS = {
    "lora": {"size": 8.0, "scale": 0.5, "learning_rate": 5e-4},
    "loha": {"size": 4.0, "scale": 0.5, "learning_rate": 5e-4},
    "lokr": {"size": -8.0, "scale": 1.0, "learning_rate": 5e-4},
    "full": {"learning_rate": 1e-6},
}
"""The defaults of arXiv 2309.14859; where a table does not hold one, its own commonest setting stands in."""


def read_configurations(path: Path) -> pd.DataFrame:
    """The settings of every configuration, one row each, by name.

    Args:
        path: a CSV file with ``Config`` and ``Algo``; ``Preset``, ``Lr``, ``Dim``, ``Alpha``, ``Factor`` and
            ``Caption`` as far as they are known.

    Raises:
        InputError: a column or value is missing, not a number, or said twice and not alike.
    """
    table = read(path)
    settings = chosen(table, path)
    for needed in ("config", "algorithm"):
        if needed not in settings:
            raise InputError(f"Table `{path}` needs a column `{NAMES[needed][0].title()}`, but has {list(table)}.")
        empty = settings.index[settings[needed] == ""]
        if len(empty):
            raise InputError(f"Row {empty[0]} of `{path}` has no {needed}.")
    settings = settings.drop_duplicates()
    twice = settings.index[settings["config"].duplicated()]
    if len(twice):
        raise InputError(
            f"Row {twice[0]} of `{path}`: configuration `{settings.loc[twice[0], 'config']}` is described twice."
        )
    settings["captions"] = [
        _captions(name, told, row, path)
        for row, name, told in zip(settings.index, settings["config"], _column(settings, "captions"), strict=True)
    ]
    return settings.set_index("config")


def chosen(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of a table that are settings, under our names, with numbers as numbers."""
    found = {}
    for name, aliases in NAMES.items():
        columns = [column for column in table if column.strip().replace(" ", "_").casefold() in aliases]
        if len(columns) > 1:
            raise InputError(f"Columns `{columns[0]}` and `{columns[1]}` of `{path}` both say the {name}.")
        if columns:
            text = table[columns[0]]
            found[name] = numbers(text, path) if name in NUMBERS else text
    frame = pd.DataFrame(found, index=table.index)
    if "algorithm" in frame:
        frame["algorithm"] = frame["algorithm"].str.casefold().replace("native", "full")
    return frame


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    return frame[name] if name in frame else pd.Series("", index=frame.index)


def _captions(config: str, told: str, row: int, path: Path) -> str:
    named = next((strategy for end, strategy in SUFFIXES.items() if config.endswith(end)), None)
    told = "" if told.casefold() in ("nan", "n/a") else told
    strategy = CAPTIONS.get(told, told) or named or "adjusted"
    if named and strategy != named:
        raise InputError(
            f"Row {row} of `{path}`: `{config}` is named as of captions `{named}`, but its captions are `{told}`."
        )
    return strategy


def describe(arms: pd.DataFrame) -> pd.DataFrame:
    """Settings completed by what compares across algorithms.

    Args:
        arms: a row an adapter setting, with ``algorithm`` and any of the other settings.

    Returns:
        The same rows, every setting present, with ``capacity`` in words and the numbers ``capacity_level``,
        ``scale_level`` and ``rate_level``: how many steps of its algorithm's grid a setting lies above
        (or below) the default. A larger dim and a smaller factor are a larger capacity; scale is alpha / dim.
        ``epoch_level`` counts back from the longest training of the algorithm, which is 0.
        Native fine-tuning has the largest capacity there is, at the level of a default.
    """
    arms = arms.copy()
    for name in NAMES:
        if name not in arms:
            arms[name] = np.nan if name in NUMBERS else ""
    dim = arms["dim"].where(arms["dim"] < UNDECOMPOSED)
    kronecker = arms["factor"].notna()
    even = arms["factor"] < 0  # the most even split there is, and so the smallest capacity
    arms["size"] = (-arms["factor"]).where(kronecker, dim).mask(even, -np.inf)
    arms["scale"] = (arms["alpha"] / dim).where(dim.notna() | ~kronecker, 1.0)
    arms["capacity"] = [
        ", ".join(f"{name} {value:g}" for name, value in said if not pd.isna(value))
        for said in (
            (("factor", row.factor), ("dim", row.whole), ("alpha", row.alpha if not pd.isna(row.whole) else np.nan))
            for row in arms.assign(whole=dim).itertuples()
        )
    ]
    arms["capacity"] = arms["capacity"].replace("", UNTOLD)
    for level, setting in (("capacity_level", "size"), ("scale_level", "scale"), ("rate_level", "learning_rate")):
        arms[level] = 0
        for algorithm, own in arms.groupby("algorithm"):
            arms.loc[own.index, level] = _levels(own[setting], DEFAULTS.get(str(algorithm), {}).get(setting))
    arms["epoch_level"] = arms.groupby("algorithm")["epoch"].rank(method="dense", ascending=False).fillna(1).mul(-1) + 1
    return arms


def _levels(values: pd.Series, default: float | None) -> list[int]:
    known = sorted(values.dropna().unique())
    if values.isna().any():  # what is not told is the default, and all that is told is something else
        zero = -1
    elif default in known:
        zero = known.index(default)
    else:
        zero = known.index(values.mode().iloc[0])
    places: dict[Any, int] = {value: place - zero for place, value in enumerate(known)}
    return [places.get(value, 0) for value in values]
