"""Result files of PEFT's method comparison: one JSON file for each experiment, in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lycoris.analysis.io.score_table import ROW_COLUMNS, ScoreTable
from lycoris.analysis.statistics.measures import EFFICIENCY, Measure
from lycoris.errors import InputError

FULL_FINE_TUNING = "full-finetuning"
_SCORES: Mapping[str, Measure] = {
    "test dino_similarity": Measure("dino_similarity", "", "", "fidelity", True),
    "drift": Measure("drift", "", "", "preservation", False),
    "test accuracy": Measure("accuracy", "", "", "quality", True),
    "forgetting": Measure("forgetting", "", "", "preservation", False),
}
"""Number of the last evaluation, by its name in a file → measure."""
_COSTS: Mapping[str, Measure] = {
    "train_time": Measure("training_seconds", "", "", EFFICIENCY, False),
    "accelerator_memory_max": Measure("peak_memory", "", "", EFFICIENCY, False),
    "file_size": Measure("file_bytes", "", "", EFFICIENCY, False),
}
"""Number of the training, by its name in a file → measure."""
_MAX_BYTES = 50_000_000


def is_result_folder(path: Path) -> bool:
    """Tell whether a path is a folder of result files, which are JSON."""
    return path.is_dir() and any(path.glob("*.json"))


def read_peft_results(folder: Path) -> ScoreTable:
    """Read the results of PEFT's method comparison, image generation or MetaMathQA.

    A row is one experiment. Rank, alpha, learning rate and seed are those of the file. One seed of one task is one
    group, so that the table has no intervals.

    Args:
        folder: with one JSON file for each experiment.

    Raises:
        InputError: a file cannot be read or is no such result, or no experiment succeeded.
    """
    rows: list[dict[str, Any]] = []
    scores: list[dict[str, float]] = []
    failed: list[str] = []
    for file in sorted(folder.glob("*.json")):
        result = _read(file)
        name = str(result["run_info"].get("experiment_name") or file.stem)
        if result["train_info"].get("status") != "success":
            failed.append(name)
            continue
        rows.append(_settings(result["run_info"], name))
        scores.append(_numbers(result["train_info"], file))
    if not rows:
        raise InputError(f"Folder `{folder}` has no experiment that succeeded.")
    measures = {measure.name: measure for measure in [*_SCORES.values(), *_COSTS.values()]}
    values = pd.DataFrame(scores)
    measures = {name: measure for name, measure in measures.items() if name in values}
    notes = [f"Left out: `{name}`, which did not succeed." for name in failed]
    notes.append("Each experiment has one seed: no difference of this table has an interval.")
    table = pd.DataFrame(rows)
    order = [*ROW_COLUMNS, *(name for name in table if name not in ROW_COLUMNS)]
    return ScoreTable(table[order], values[list(measures)], measures, notes)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(f"File `{file}` must have at most {_MAX_BYTES} bytes.")
        result = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"File `{file}` cannot be read as JSON: {error}.") from error
    parts = ("run_info", "train_info")
    if not isinstance(result, dict) or not all(isinstance(result.get(part), dict) for part in parts):
        raise InputError(f"File `{file}` is no result of PEFT's method comparison: it needs {' and '.join(parts)}.")
    return result


def _settings(run: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The columns of one experiment that are settings."""
    training, config = run.get("train_config") or {}, run.get("peft_config") or {}
    rate = (training.get("optimizer_kwargs") or {}).get("lr")
    return {
        **dict.fromkeys(ROW_COLUMNS, ""),
        "base": str(training.get("model_id") or ""),
        "config": name,
        "algorithm": f"peft:{str(config['peft_type']).lower()}" if config.get("peft_type") else FULL_FINE_TUNING,
        "seed": str(training.get("seed", "")),
        "class": str(training.get("dataset_id") or "task"),
        "epoch": float(training.get("max_steps") or "nan"),
        "dim": _number(config.get("r")),
        "alpha": _number(config.get("lora_alpha", config.get("alpha"))),
        "learning_rate": _number(rate),
    }


def _numbers(training: Mapping[str, Any], file: Path) -> dict[str, float]:
    """The scores and costs of one experiment, the scores of its last evaluation."""
    evaluations = training.get("metrics")
    last = evaluations[-1] if isinstance(evaluations, list) and evaluations else {}
    if not isinstance(last, dict):
        raise InputError(f"File `{file}`: an entry of `metrics` must be an object, but is {last!r}.")
    numbers: dict[str, float] = {}
    for source, names in ((last, _SCORES), (training, _COSTS)):
        for name, measure in names.items():
            if name in source:
                if isinstance(source[name], bool) or not isinstance(source[name], int | float):
                    raise InputError(f"File `{file}`: `{name}` must be a number, but is {source[name]!r}.")
                numbers[measure.name] = float(source[name])  # NaN where PEFT could not measure it
    if not any(measure.name in numbers for measure in _SCORES.values()):
        raise InputError(f"File `{file}` has none of the scores {', '.join(f'`{name}`' for name in _SCORES)}.")
    return numbers


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else float("nan")
