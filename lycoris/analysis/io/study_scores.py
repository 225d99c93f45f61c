"""A study's ``scores.csv``, which has one score per row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lycoris.analysis.io.csv_files import parse_numbers
from lycoris.analysis.io.score_table import GROUP_COLUMNS, ROW_COLUMNS, ScoreTable
from lycoris.analysis.statistics.configurations import COLUMN_ALIASES, read_settings
from lycoris.analysis.statistics.measures import Measure, measure_from_name
from lycoris.errors import InputError

ADAPTER_COLUMNS = (
    "concept",
    "base_model",
    "seed",
    *GROUP_COLUMNS,
    *(alias for names in COLUMN_ALIASES.values() for alias in names),
)
"""Columns that identify an adapter, as far as a table has them; all others describe its scores."""


def read_study_scores(cells: pd.DataFrame, path: Path, configurations: pd.DataFrame | None) -> ScoreTable:
    """A study's scores.

    Args:
        cells: its cells: ``concept``, ``algorithm`` (or a label such as ``lora rank=16``), ``name``, ``value`` and
            any of ``captions``, ``seed``, ``config``, ``category``, ``class``, ``subclass``, ``base_model``, ``epoch``
            (or ``steps``), ``preset``, ``rank``, ``alpha``, ``factor``, ``learning_rate``, ``run_id``.
        path: its file, for messages.
        configurations: settings by the table's ``config``, or by the label without one.
    """
    if "algorithm" not in cells:
        raise InputError(f"Table `{path}` needs a column `algorithm`.")
    values = parse_numbers(cells["value"], path)
    keys = [name for name in cells if name in ADAPTER_COLUMNS]
    adapter = cells.groupby(keys, sort=False).ngroup()
    unique = pd.DataFrame({"adapter": adapter, "name": cells["name"], "value": values}).drop_duplicates()
    second = unique.index[unique.duplicated(["adapter", "name"])]
    if len(second):
        name = cells["name"][second[0]]
        raise InputError(f"Row {second[0]} of `{path}` has a second value of `{name}` for one adapter.")
    scores = unique.pivot(index="adapter", columns="name", values="value")
    first = cells.loc[~adapter.duplicated()]
    scores.index = first.index

    rows = _adapter_settings(first, path, configurations)
    rows["config"] = [
        " · ".join(part for part in (label, captions) if part)
        for label, captions in zip(_config_labels(first), rows.get("captions", [""] * len(rows)), strict=True)
    ]
    for name in ("base_model", "seed", *GROUP_COLUMNS):
        rows[name] = first.get(name, "")
    rows = rows.rename(columns={"base_model": "base"}).assign(strength="")
    if (rows["class"] == "").all():
        parts = first["concept"].str.split("/")
        rows["class"], rows["subclass"] = parts.str[0], parts.str[1:].str.join("/")
    if "run_id" in first:
        rows["run_id"] = first["run_id"]
    if "epoch" not in rows:
        rows["epoch"] = float("nan")

    measures = _measures(cells)
    renamed = {name: measure.name for name, measure in measures.items()}
    duplicates = len(cells) - len(unique)
    notes = [f"{duplicates} duplicate rows were counted once."] if duplicates else []
    order = [*ROW_COLUMNS, *(name for name in rows if name not in ROW_COLUMNS)]
    by_name = {measure.name: measure for measure in measures.values()}
    return ScoreTable(rows[order], scores.rename(columns=renamed)[list(by_name)], by_name, notes)


def _measures(cells: pd.DataFrame) -> dict[str, Measure]:
    """Score name, as the table writes it -> its measure."""
    measures = {}
    for name, entry in cells.drop_duplicates("name").set_index("name").iterrows():
        better = {"true": True, "false": False}.get(str(entry.get("higher_is_better", "")).casefold())
        measures[str(name)] = measure_from_name(str(name), entry.get("dimension"), better)
    return measures


def _config_labels(first: pd.DataFrame) -> pd.Series:
    return first["config"] if "config" in first else first["algorithm"]


def _adapter_settings(first: pd.DataFrame, path: Path, configurations: pd.DataFrame | None) -> pd.DataFrame:
    """The settings of each adapter: from its columns, its label and the configurations, in this order."""
    blank = first.index[first["algorithm"].str.strip() == ""]
    if len(blank):
        raise InputError(f"Row {blank[0]} of `{path}` has no algorithm.")
    labelled = pd.DataFrame([_parse_label(label) for label in first["algorithm"]], index=first.index).fillna("")
    labelled = labelled[[name for name in labelled if name == "algorithm" or name not in first]]
    specified = read_settings(
        pd.concat([labelled, first[[n for n in first if n in ADAPTER_COLUMNS and n not in labelled]]], axis=1), path
    )
    if configurations is None:
        return specified
    label = _config_labels(first)
    missing = label.index[~label.isin(configurations.index)]
    if len(missing):
        raise InputError(f"Row {missing[0]} of `{path}`: the table of configurations lacks `{label[missing[0]]}`.")
    return specified.drop(columns="config", errors="ignore").combine_first(
        configurations.reindex(label).set_index(first.index)
    )


def _parse_label(label: str) -> dict[str, str]:
    """``lora rank=16`` as settings."""
    name, *rest = label.split()
    return {"algorithm": name, **dict(part.split("=", 1) for part in rest if "=" in part)}
