"""The tables of arXiv 2309.14859, parsed by the names of folders and columns."""

from __future__ import annotations

import difflib
from pathlib import Path

import pandas as pd

from lycoris.analysis.io.csv_files import parse_numbers
from lycoris.analysis.io.score_table import GROUP_COLUMNS, ROW_COLUMNS, ScoreTable
from lycoris.analysis.statistics.measures import Measure, measure_from_column
from lycoris.errors import InputError

DEFAULT_EPOCH = 50
"""The epoch of a folder name without a number at its end."""


def read_paper_table(cells: pd.DataFrame, path: Path, configurations: pd.DataFrame) -> ScoreTable:
    """A published table: a row per folder, a column per measure.

    Args:
        cells: its cells; ``Folder`` reads ``[strength/]base-configuration-seed[-epoch]/category/class/subclass``.
        path: its file, for messages.
        configurations: the settings of each configuration.
    """
    columns = [name for name in cells if name != "Folder" and not name.startswith("Unnamed: ")]
    measures: dict[str, Measure] = {}
    scores = {}
    for column in columns:
        measure = measure_from_column(column)
        if measure.name in measures:
            raise InputError(f"Column `{column}` of `{path}` repeats the measure `{measure.name}`.")
        measures[measure.name] = measure
        scores[measure.name] = parse_numbers(cells[column], path)
    if not measures:
        raise InputError(f"Table `{path}` has no column of scores such as `Text Similarity (out)`.")
    parsed, bases = {}, set()
    runs: dict[str, tuple[str, str, int, str] | None] = {}
    for row, folder in cells["Folder"].items():
        run, place, strength = _parse_folder(folder, row, path)
        if run not in runs:
            runs[run] = _parse_run(run, row, path, configurations)
        parts = runs[run]
        if parts is None:
            bases.add(run)
            continue
        base, config, epoch, seed = parts
        parsed[row] = (base, strength, config, epoch, seed, *place)
    if not parsed:
        raise InputError(f"Table `{path}` has no row of a configuration in `--configs`.")
    rows = pd.DataFrame.from_dict(parsed, orient="index", columns=list(ROW_COLUMNS))
    settings = configurations.reindex(rows["config"]).set_index(rows.index)
    notes = [f"Left out: `{base}`, a base model." for base in sorted(bases)]
    return ScoreTable(
        rows.join(settings.drop(columns="epoch", errors="ignore")),
        pd.DataFrame(scores).loc[rows.index],
        measures,
        notes,
    )


def _parse_folder(folder: str, row: object, path: Path) -> tuple[str, tuple[str, str, str], str]:
    strength, parts = "", folder.strip("/").split("/")
    if parts[0].isdigit():
        strength, *parts = parts
    run, *place = parts or [""]
    if not run or len(place) > len(GROUP_COLUMNS) or "" in place:
        raise InputError(
            f"Row {row}, column `Folder` of `{path}` must read `run/category/class/subclass`, but is `{folder}`."
        )
    category, name, part = (*place, "", "", "")[:3]
    return run, (category, name, part), strength


def _parse_run(run: str, row: object, path: Path, configurations: pd.DataFrame) -> tuple[str, str, int, str] | None:
    """Base, configuration, epoch and seed of ``<base>-<configuration>-<seed>[-<epoch>]``; None for a base model."""
    words = run.split("-")
    readings = [(words[:-1], words[-1], DEFAULT_EPOCH), (words, "", DEFAULT_EPOCH)]
    if words[-1].isdigit():
        readings = [(words[:-2], words[-2] if len(words) > 1 else "", int(words[-1])), *readings]
        readings.append((words[:-1], "", int(words[-1])))
    for rest, seed, epoch in readings:
        for start in range(len(rest)):
            config = "-".join(rest[start:])
            if config in configurations.index:
                return "-".join(rest[:start]), config, epoch, seed
    if "exp" not in words:
        return None
    guess = "-".join(readings[0][0][words.index("exp") :])
    near = difflib.get_close_matches(guess, list(configurations.index), n=1, cutoff=0.5)
    hint = f" The nearest is `{near[0]}`." if near else ""
    raise InputError(f"Row {row}, column `Folder` of `{path}`: the table of configurations lacks `{guess}`.{hint}")
