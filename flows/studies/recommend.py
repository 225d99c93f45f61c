"""From a finished study to the setting to take: what `lycoris recommend` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lycoris.analysis.decisions.champion_selection import beats_base
from lycoris.analysis.decisions.recommendation import RECOMMENDATION_RULE, Recommendation, recommend, validate_weights
from lycoris.analysis.io.csv_files import parse_numbers, read_csv
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.ranking import rank_table
from lycoris.analysis.text.recommendation_text import recommendation_lines
from lycoris.errors import InputError
from lycoris.report.recommendation_svg import render_svg

SCORES_FILE, STUDY_FILE, PLOT_FILE = "scores.csv", "study.json", "recommendation.svg"
_RUN_COLUMNS = ["config", "captions", "concept", "seed"]


def recommend_study(
    study: Path,
    configurations: Path | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    max_size: int | None = None,
) -> dict[str, Any]:
    """Choose the setting to take from a finished study, and draw how it stands among the others.

    Args:
        study: a study's folder (``scores.csv`` and, for sizes, ``study.json``), or a table of scores.
        configurations: what each configuration is; a published table needs it.
        weights: dimension -> how much it counts, at least 0; 1 where absent.
        max_size: bytes that the adapter's file may have.

    Returns:
        ``{"choice", "runner_up", "difference", "differences", "told_apart", "front", "settings", "missing", "weights",
        "unit", "rule", "notes", "lines", "picture"}``. The picture lies beside the table.

    Raises:
        InputError: there is no such study, or something in it or in the arguments is not as it should be.
    """
    validate_weights(weights or {})
    table = study / SCORES_FILE if study.is_dir() else study
    if not table.is_file():
        raise InputError(f"`{study}` must be a study's folder with `{SCORES_FILE}`, or a table of scores.")
    text = read_csv(table)
    unit = "steps" if "steps" in text else "epochs"
    found = recommend(
        rank_table(read_table(table, configurations)),
        weights=weights,
        file_sizes=adapter_sizes(table.parent / STUDY_FILE),
        max_file_size=max_size,
        win_rates=share_beating_base(text, table),
        length_unit=unit,
    )
    said = recommendation_lines(found, length_unit=unit)
    picture = table.parent / PLOT_FILE
    try:
        picture.write_text(
            render_svg(found, title=f"What to take from {table.parent.resolve().name}"), encoding="utf-8"
        )
    except OSError as error:
        raise InputError(f"`{picture}` cannot be written: {error.strerror}.") from error
    return {**recommendation_record(found), "lines": said, "picture": str(picture.resolve())}


def recommendation_record(recommendation: Recommendation) -> dict[str, Any]:
    """A recommendation in values that JSON can hold."""
    options = [vars(one) for one in recommendation.options]
    return {
        "choice": vars(recommendation.choice),
        "runner_up": None if recommendation.runner_up is None else vars(recommendation.runner_up),
        "difference": dict(recommendation.difference or {}),
        "differences": {name: dict(gap) for name, gap in recommendation.differences.items()},
        "told_apart": recommendation.is_separated,
        "front": [one.config for one in recommendation.front],
        "settings": options,
        "missing": list(recommendation.missing),
        "weights": dict(recommendation.weights),
        "unit": recommendation.unit,
        "rule": RECOMMENDATION_RULE,
        "notes": recommendation.notes,
    }


def adapter_sizes(study: Path) -> dict[str, int]:
    """Configuration, as the table of scores names it, to the bytes of its largest adapter; empty without the file.

    Raises:
        InputError: the file is no study.
    """
    if not study.is_file():
        return {}
    try:
        adapters = json.loads(study.read_text(encoding="utf-8"))["adapters"]
        found: dict[str, int] = {}
        for one in adapters:
            if "bytes" in one:
                name = _setting_label(one["algorithm"], one["captions"])
                found[name] = max(found.get(name, 0), int(one["bytes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{study}` cannot be read as a study: {error!r}.") from error
    return found


def share_beating_base(table: pd.DataFrame, path: Path) -> dict[str, float]:
    """Configuration -> in which part of its trainings it beat the base; empty where the table does not tell.

    Args:
        text: the cells of a study's table.
        path: its file, for messages.
    """
    if not {"name", "difference_low", "captions", "config", "concept"} <= set(table):
        return {}
    rows = table.assign(difference_low=parse_numbers(table["difference_low"], path))
    keys = [name for name in (*_RUN_COLUMNS, "epoch", "steps") if name in rows]
    found: dict[str, list[bool]] = {}
    for _, own in rows.groupby(keys, sort=False):
        first = own.iloc[0]
        found.setdefault(_setting_label(first["config"], first["captions"]), []).append(
            beats_base(own.to_dict("records"))
        )
    return {name: sum(every) / len(every) for name, every in found.items()}


def _setting_label(label: str, captions: str) -> str:
    return " · ".join(part for part in (label, captions) if part)
