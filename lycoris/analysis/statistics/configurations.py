"""The settings of each configuration, and their distance from the defaults of its algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.io.csv_files import parse_numbers, read_csv
from lycoris.errors import InputError

COLUMN_ALIASES = {
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
    "times": ("times",),
}
"""Setting -> the names that its column may have, in any case."""
NUMERIC_SETTINGS = ("dim", "alpha", "factor", "learning_rate", "epoch", "pictures")
CAPTION_FILE_STRATEGIES = {".txt": "adjusted", ".txtdb": "none", ".txttags": "all"}
"""Caption file suffix of the published runs -> caption strategy."""
CONFIG_SUFFIX_STRATEGIES = {"-db": "none", "-alltags": "all"}
"""Suffix of published configuration names -> caption strategy; without one it is `adjusted`."""
FULL_RANK_DIM = 10_000
"""From this LoKr dimension on the second factor has full rank."""
UNSPECIFIED = "default"
"""The label of a setting that a table does not specify."""
ALGORITHM_DEFAULTS = {
    "lora": {"size": 8.0, "scale": 0.5, "learning_rate": 5e-4},
    "loha": {"size": 4.0, "scale": 0.5, "learning_rate": 5e-4},
    "lokr": {"size": -8.0, "scale": 1.0, "learning_rate": 5e-4},
    "full": {"learning_rate": 1e-6},
}
"""The defaults of arXiv 2309.14859; a table without one uses its own most frequent setting instead."""


def read_configurations(path: Path) -> pd.DataFrame:
    """The settings of every configuration, one row each, by name.

    Args:
        path: a CSV file with ``Config`` and ``Algo``, and any of ``Preset``, ``Lr``, ``Dim``, ``Alpha``, ``Factor`` and
            ``Caption``.

    Raises:
        InputError: A column or value is missing or not a number, or two rows of a configuration differ.
    """
    table = read_csv(path)
    settings = read_settings(table, path)
    for needed in ("config", "algorithm"):
        if needed not in settings:
            raise InputError(
                f"Table `{path}` needs a column `{COLUMN_ALIASES[needed][0].title()}`, but has {list(table)}."
            )
        empty = settings.index[settings[needed] == ""]
        if len(empty):
            raise InputError(f"Row {empty[0]} of `{path}` has no {needed}.")
    settings = settings.drop_duplicates()
    twice = settings.index[settings["config"].duplicated()]
    if len(twice):
        raise InputError(
            f"Row {twice[0]} of `{path}`: configuration `{settings.loc[twice[0], 'config']}` is described twice."
        )
    captions = settings["captions"] if "captions" in settings else pd.Series("", index=settings.index)
    settings["captions"] = [
        _caption_strategy(config, value, row, path)
        for row, config, value in zip(settings.index, settings["config"], captions, strict=True)
    ]
    return settings.set_index("config")


def read_settings(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of a table that are settings, under their standard names, with numbers parsed."""
    settings = {}
    for name, aliases in COLUMN_ALIASES.items():
        columns = [column for column in table if column.strip().replace(" ", "_").casefold() in aliases]
        if len(columns) > 1:
            raise InputError(f"Columns `{columns[0]}` and `{columns[1]}` of `{path}` both hold the setting `{name}`.")
        if columns:
            text = table[columns[0]]
            settings[name] = parse_numbers(text, path) if name in NUMERIC_SETTINGS else text
    frame = pd.DataFrame(settings, index=table.index)
    if "algorithm" in frame:
        frame["algorithm"] = frame["algorithm"].str.casefold().replace("native", "full")
    return frame


def _caption_strategy(config: str, value: str, row: int, path: Path) -> str:
    named = next((strategy for end, strategy in CONFIG_SUFFIX_STRATEGIES.items() if config.endswith(end)), None)
    value = "" if value.casefold() in ("nan", "n/a") else value
    strategy = CAPTION_FILE_STRATEGIES.get(value, value) or named or "adjusted"
    if named and strategy != named:
        raise InputError(
            f"Row {row} of `{path}`: the name `{config}` means captions `{named}`, but column `Caption` has `{value}`."
        )
    return strategy


def complete_settings(settings: pd.DataFrame) -> pd.DataFrame:
    """Settings with the columns that can be compared across algorithms.

    Args:
        settings: one row per adapter setting, with ``algorithm`` and any of the other settings.

    Returns:
        The same rows with every setting, ``capacity`` in words, and the numbers ``capacity_level``, ``scale_level`` and
        ``rate_level``: how many steps of its algorithm's grid a setting lies above (or below) the default. A larger dim
        and a smaller factor are a larger capacity; scale is alpha / dim. ``epoch_level`` counts back from the longest
        training of the algorithm, which is 0. Native fine-tuning has the default level of capacity.
    """
    settings = settings.copy()
    for name in COLUMN_ALIASES:
        if name not in settings:
            settings[name] = np.nan if name in NUMERIC_SETTINGS else ""
    dim = settings["dim"].where(settings["dim"] < FULL_RANK_DIM)
    kronecker = settings["factor"].notna()
    even = settings["factor"] < 0  # the most even split, and so the smallest capacity
    settings["size"] = (-settings["factor"]).where(kronecker, dim).mask(even, -np.inf)
    settings["scale"] = (settings["alpha"] / dim).where(dim.notna() | ~kronecker, 1.0)
    alpha = settings["alpha"].where(dim.notna())
    settings["capacity"] = [_capacity_label(*row) for row in zip(settings["factor"], dim, alpha, strict=True)]
    for level, setting in (("capacity_level", "size"), ("scale_level", "scale"), ("rate_level", "learning_rate")):
        settings[level] = 0
        for algorithm, own in settings.groupby("algorithm"):
            settings.loc[own.index, level] = _steps_from_default(
                own[setting], ALGORITHM_DEFAULTS.get(str(algorithm), {}).get(setting)
            )
    settings["epoch_level"] = (
        settings.groupby("algorithm")["epoch"].rank(method="dense", ascending=False).fillna(1).mul(-1) + 1
    )
    return settings


def _capacity_label(factor: float, dim: float, alpha: float) -> str:
    parts = (("factor", factor), ("dim", dim), ("alpha", alpha))
    return ", ".join(f"{name} {value:g}" for name, value in parts if not pd.isna(value)) or UNSPECIFIED


def _steps_from_default(values: pd.Series, default: float | None) -> list[int]:
    known = sorted(values.dropna().unique())
    if values.isna().any():  # an unspecified value is the default, and every specified one differs from it
        zero = -1
    elif default in known:
        zero = known.index(default)
    else:
        zero = known.index(values.mode().iloc[0])
    steps: dict[Any, int] = {value: index - zero for index, value in enumerate(known)}
    return [steps.get(value, 0) for value in values]
