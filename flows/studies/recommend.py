"""Recommendation of a setting from a finished study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lycoris.analysis.decisions.champion_selection import beats_base
from lycoris.analysis.decisions.recommendation import (
    RECOMMENDATION_RULE,
    RankedSetting,
    Recommendation,
    recommend,
)
from lycoris.analysis.io.csv_files import parse_numbers, read_csv
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.ranking import rank_table
from lycoris.analysis.statistics.setting_scores import validate_weights
from lycoris.analysis.text.formatting import adapter_label
from lycoris.analysis.text.recommendation_text import recommendation_lines
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError, nearest_path_hint
from lycoris.report.recommendation_svg import render_svg
from lycoris.report.run.schema import read_study_record

SCORES_FILE, STUDY_FILE, PLOT_FILE = "scores.csv", "study.json", "recommendation.svg"
_RUN_COLUMNS = ["config", "captions", "concept", "seed"]


def recommend_study(
    study: Path,
    configurations: Path | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    max_size: int | None = None,
) -> dict[str, Any]:
    """Choose a setting from a finished study, and plot its ranks beside those of the others.

    Args:
        study: The folder of a study (``scores.csv`` and, for sizes, ``study.json``), or a table of scores.
        configurations: The table of configurations that belongs to a published table.
        weights: Dimension -> weight, at least 0; default: 1.
        max_size: The largest acceptable adapter file, in bytes.

    Returns:
        ``{"choice", "runner_up", "difference", "differences", "told_apart", "front", "settings", "missing", "weights",
        "unit", "rule", "notes", "lines", "adapters", "picture"}``. The plot is beside the table.

    Raises:
        InputError: There is no such study, or the study or an argument is invalid.
    """
    validate_weights(weights or {})
    file = study / SCORES_FILE if study.is_dir() else study
    if not file.is_file():
        raise InputError(
            f"`{study}` must be the folder of a study with `{SCORES_FILE}`, or a table of scores."
            + nearest_path_hint(study)
        )
    table = read_csv(file)
    unit = "steps" if "steps" in table else "epochs"
    recommendation = recommend(
        rank_table(read_table(file, configurations)),
        weights=weights,
        file_sizes=adapter_sizes(file.parent / STUDY_FILE),
        max_file_size=max_size,
        win_rates=share_beating_base(table, file),
        length_unit=unit,
    )
    plot = file.parent / PLOT_FILE
    try:
        atomic_write_text(plot, render_svg(recommendation, title=f"Recommendation for {file.parent.resolve().name}"))
    except OSError as error:
        raise InputError(f"`{plot}` cannot be written: {error.strerror}.") from error
    adapters = chosen_adapters(file.parent / STUDY_FILE, recommendation.choice)
    return {
        **recommendation_record(recommendation),
        "lines": recommendation_lines(recommendation, length_unit=unit),
        "adapters": adapters,
        "picture": str(plot.resolve()),
    }


def recommendation_record(recommendation: Recommendation) -> dict[str, Any]:
    """Return a recommendation as values that JSON can hold."""
    return {
        "choice": vars(recommendation.choice),
        "runner_up": None if recommendation.runner_up is None else vars(recommendation.runner_up),
        "difference": dict(recommendation.difference or {}),
        "differences": {name: dict(interval) for name, interval in recommendation.differences.items()},
        "told_apart": recommendation.is_separated,
        "front": [setting.config for setting in recommendation.front],
        "settings": [vars(setting) for setting in recommendation.options],
        "missing": list(recommendation.missing),
        "weights": dict(recommendation.weights),
        "unit": recommendation.unit,
        "rule": RECOMMENDATION_RULE,
        "notes": recommendation.notes,
    }


def chosen_adapters(study: Path, choice: RankedSetting) -> list[dict[str, Any]]:
    """Return the adapters of a setting; empty without the file of the study.

    Returns:
        ``{"concept", "file", "trigger", "report_takes"}`` each. ``report_takes`` is the adapter that the study's report
        takes for the concept, where that is of another setting or seed, else None.

    Raises:
        InputError: The file cannot be read as a study.
    """
    if not study.is_file():
        return []
    record = read_study_record(study)
    triggers = {concept.get("name"): concept.get("trigger") for concept in record.get("concepts") or []}
    adapters = record.get("adapters") or []
    with_seed = len({adapter.get("seed") for adapter in adapters}) > 1
    taken = {adapter["concept"]: adapter for adapter in adapters if adapter.get("champion")}
    return [
        {
            "concept": adapter["concept"],
            "file": adapter["file"],
            "trigger": triggers.get(adapter["concept"]),
            "report_takes": None
            if (other := taken.get(adapter["concept"])) is None or other.get("name") == adapter.get("name")
            else adapter_label(other, with_seed=with_seed),
        }
        for adapter in adapters
        if adapter.get("file")
        and not adapter.get("checkpoint")
        and _setting_label(adapter["algorithm"], adapter["captions"]) == choice.config
    ]


def adapter_sizes(study: Path) -> dict[str, int]:
    """Return setting, as named in the table of scores -> bytes of its largest adapter; empty without the file.

    Raises:
        InputError: The file cannot be read as a study.
    """
    if not study.is_file():
        return {}
    sizes: dict[str, int] = {}
    try:
        for adapter in json.loads(study.read_text(encoding="utf-8"))["adapters"]:
            if "bytes" in adapter:
                setting = _setting_label(adapter["algorithm"], adapter["captions"])
                sizes[setting] = max(sizes.get(setting, 0), int(adapter["bytes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{study}` cannot be read as a study: {error!r}.") from error
    return sizes


def share_beating_base(table: pd.DataFrame, file: Path) -> dict[str, float]:
    """Return setting -> fraction of its trainings that beat the base; empty if the table lacks the columns.

    Args:
        table: The cells of the table of scores.
        file: The file of the table, for error messages.
    """
    if not {"name", "difference_low", "captions", "config", "concept"} <= set(table):
        return {}
    numbers = [name for name in ("difference", "difference_low", "base") if name in table]
    rows = table.assign(**{name: parse_numbers(table[name], file) for name in numbers})
    columns = [name for name in (*_RUN_COLUMNS, "epoch", "steps") if name in rows]
    wins: dict[str, list[bool]] = {}
    for _, run in rows.groupby(columns, sort=False):
        first = run.iloc[0]
        setting = _setting_label(first["config"], first["captions"])
        wins.setdefault(setting, []).append(beats_base(run.to_dict("records")))
    return {setting: sum(results) / len(results) for setting, results in wins.items()}


def _setting_label(label: str, captions: str) -> str:
    return " · ".join(part for part in (label, captions) if part)
