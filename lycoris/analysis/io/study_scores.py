"""A study's own ``scores.csv``: a score of an adapter a row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lycoris.analysis.io.csv_files import numbers
from lycoris.analysis.io.score_table import PLACE, ROW, Table
from lycoris.analysis.statistics.configurations import NAMES, chosen
from lycoris.analysis.statistics.measures import Measure, from_name
from lycoris.errors import InputError

ADAPTER = ("concept", "base_model", "seed", *PLACE, *(alias for names in NAMES.values() for alias in names))
"""Columns that tell one adapter from another, as far as a table has them; all others describe its scores."""


def read_study(text: pd.DataFrame, path: Path, known: pd.DataFrame | None) -> Table:
    """A study's scores.

    Args:
        text: its cells: ``concept``, ``algorithm`` (or a label such as ``lora rank=16``), ``name``, ``value`` and
            any of ``captions``, ``seed``, ``config``, ``category``, ``class``, ``subclass``, ``base_model``, ``epoch``
            (or ``steps``), ``preset``, ``rank``, ``alpha``, ``factor``, ``learning_rate``; ``run_id`` is kept.
        path: its file, for messages.
        known: configurations by the table's ``config``, or by the label when there is none.
    """
    if "algorithm" not in text:
        raise InputError(f"Table `{path}` needs a column `algorithm`.")
    values = numbers(text["value"], path)
    keys = [name for name in text if name in ADAPTER]
    adapter = text.groupby(keys, sort=False).ngroup()
    twice = pd.DataFrame({"adapter": adapter, "name": text["name"], "value": values}).drop_duplicates()
    again = twice.index[twice.duplicated(["adapter", "name"])]
    if len(again):
        raise InputError(f"Row {again[0]} of `{path}` gives `{text['name'][again[0]]}` of one adapter a second value.")
    scores = twice.pivot(index="adapter", columns="name", values="value")
    first = text.loc[~adapter.duplicated()]
    scores.index = first.index

    rows = _settings(first, path, known)
    rows["config"] = [
        " · ".join(part for part in (label, captions) if part)
        for label, captions in zip(_label(first), rows.get("captions", [""] * len(rows)), strict=True)
    ]
    for name in ("base_model", "seed", *PLACE):
        rows[name] = first.get(name, "")
    rows = rows.rename(columns={"base_model": "base"}).assign(strength="")
    if (rows["class"] == "").all():
        parts = first["concept"].str.split("/")
        rows["class"], rows["subclass"] = parts.str[0], parts.str[1:].str.join("/")
    if "run_id" in first:
        rows["run_id"] = first["run_id"]
    if "epoch" not in rows:
        rows["epoch"] = float("nan")

    measures: dict[str, Measure] = {}
    renamed = {}
    for name, entry in text.drop_duplicates("name").set_index("name").iterrows():
        better = {"true": True, "false": False}.get(str(entry.get("higher_is_better", "")).casefold())
        measure = from_name(str(name), entry.get("dimension"), better)
        measures[measure.name] = measure
        renamed[name] = measure.name
    repeated = len(text) - len(twice)
    notes = [f"{repeated} rows said the same twice and were counted once."] if repeated else []
    order = [*ROW, *(name for name in rows if name not in ROW)]
    return Table(rows[order], scores.rename(columns=renamed)[list(measures)], measures, notes)


def _label(first: pd.DataFrame) -> pd.Series:
    return first["config"] if "config" in first else first["algorithm"]


def _settings(first: pd.DataFrame, path: Path, known: pd.DataFrame | None) -> pd.DataFrame:
    """What is told of each adapter: by its label, by columns of its own, which go before, and by the configurations."""
    spelt = pd.DataFrame([_spelt(label) for label in first["algorithm"]], index=first.index).fillna("")
    spelt = spelt[[name for name in spelt if name == "algorithm" or name not in first]]
    told = chosen(pd.concat([spelt, first[[n for n in first if n in ADAPTER and n not in spelt]]], axis=1), path)
    if known is None:
        return told
    label = _label(first)
    missing = label.index[~label.isin(known.index)]
    if len(missing):
        raise InputError(f"Row {missing[0]} of `{path}`: the table of configurations lacks `{label[missing[0]]}`.")
    return told.drop(columns="config", errors="ignore").combine_first(known.reindex(label).set_index(first.index))


def _spelt(label: str) -> dict[str, str]:
    """``lora rank=16`` as settings."""
    name, *rest = label.split()
    return {"algorithm": name, **dict(part.split("=", 1) for part in rest if "=" in part)}
