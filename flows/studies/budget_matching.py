"""Comparisons on equal terms: ranks that give adapters the same size, or lengths that take the same time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import monitoring
from flows.config.experiment import AdapterConfig, Experiment
from lycoris.errors import InputError, unknown_name_error

BUDGET_KINDS = ("parameters", "time")
BUDGET_FILE = "budget.json"
MAX_CAPACITY = 1024
"""The largest rank or factor that is tried."""


@dataclass(frozen=True)
class BudgetMatch:
    """What all adapters of a study are to have in common.

    Attributes:
        kind: ``"parameters"`` or ``"time"``.
        of: the label of the adapter that sets it; None for the first.
    """

    kind: str
    reference: str | None = None


def parse_budget(value: Any) -> BudgetMatch | None:
    """What a study's ``equal`` says: a word, or the word with the adapter that sets the budget.

    Raises:
        InputError: it is neither.
    """
    if value is None:
        return None
    pair = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, None)
    if pair[0] not in BUDGET_KINDS:
        raise unknown_name_error("budget", pair[0], BUDGET_KINDS)
    return BudgetMatch(pair[0], None if pair[1] is None else str(pair[1]))


def reference_adapter(experiment: Experiment, label: str | None) -> AdapterConfig:
    """The adapter that sets a budget."""
    found = [adapter for adapter in experiment.algorithms if label in (None, adapter.label)]
    if not found:
        raise unknown_name_error("adapter", label, [adapter.label for adapter in experiment.algorithms])
    return found[0]


def match_parameters(
    experiment: Experiment, reference: str | None, count_parameters: Callable[[Mapping[str, Any]], int]
) -> tuple[Experiment, list[str]]:
    """The experiment with ranks and factors that bring every adapter nearest to the size of one of them.

    An algorithm with a factor is fitted by it, any other by its rank, alpha in step; what has neither stays.

    Args:
        experiment: whose adapters are fitted.
        of: the label of the adapter that sets the size; None for the first.
        count: settings of an adapter -> numbers that it trains; an `InputError` where they are not possible.

    Returns:
        The experiment, and a line an adapter.
    """
    model = reference_adapter(experiment, reference)
    target = count_parameters(experiment.adapter_settings(model))
    fitted, lines = [], [f"equal parameters: {target:,} numbers, as `{model.label}` has"]
    for adapter in experiment.algorithms:
        chosen = adapter if adapter is model else _nearest_in_size(experiment, adapter, target, count_parameters)
        own = count_parameters(experiment.adapter_settings(chosen))
        note = "" if own == target or chosen is not adapter else "; nothing nearer, left as it is"
        lines.append(f"  {chosen.label:<24}{own:>12,} numbers, {own / target:.2f} times{note}")
        fitted.append(chosen)
    return _with_adapters(experiment, fitted), lines


def _nearest_in_size(
    experiment: Experiment, adapter: AdapterConfig, target: int, count_parameters: Callable[[Mapping[str, Any]], int]
) -> AdapterConfig:
    settings = experiment.adapter_settings(adapter)
    dial = "factor" if settings["factor"] is not None or adapter.algorithm == "lokr" else "rank"
    known: dict[int, int | None] = {}

    def tried(value: int) -> int | None:
        if value not in known:
            try:
                known[value] = count_parameters(
                    experiment.adapter_settings(_with_capacity(adapter, settings, dial, value))
                )
            except InputError:
                known[value] = None
        return known[value]

    least = 2 if dial == "factor" else 1
    if tried(least) is None or tried(least) == tried(least + 1):
        return adapter  # it has no such dial
    low, high = least, MAX_CAPACITY
    while high - low > 1:  # a larger rank is a larger adapter, a larger factor a smaller one
        middle = (low + high) // 2
        size = tried(middle)
        enough = size is None or (size >= target if dial == "rank" else size <= target)
        low, high = (low, middle) if enough else (middle, high)
    for value in range(max(least, low - 2), low + 4):  # factors that do not divide a layer make small waves
        tried(value)
    sizes = {value: size for value, size in known.items() if size is not None}
    best = min(sizes, key=lambda value: (abs(sizes[value] - target), value))
    return adapter if best == settings[dial] else _with_capacity(adapter, settings, dial, best)


def _with_capacity(adapter: AdapterConfig, settings: Mapping[str, Any], name: str, value: int) -> AdapterConfig:
    change: dict[str, Any] = {name: value}
    if name == "rank" and adapter.alpha is not None and settings["rank"]:
        change["alpha"] = adapter.alpha * value / settings["rank"]
    return adapter.model_copy(update=change)


def match_time(
    experiment: Experiment, reference: str | None, measure_step_seconds: Callable[[], Mapping[str, float]], file: Path
) -> tuple[Experiment, list[str]]:
    """The experiment with lengths that let every adapter be trained as long, by the clock, as one of them.

    Args:
        experiment: whose adapters are fitted.
        of: the label of the adapter that sets the time; None for the first.
        step: called for the label of each adapter -> seconds of a training step.
        kept: the file where these seconds stand once they were measured, so that a study taken up again is the same.

    Returns:
        The experiment, and a line an adapter.

    Raises:
        InputError: one adapter's length is in epochs, another's in steps.
    """
    labels = [adapter.label for adapter in experiment.algorithms]
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    seconds: Mapping[str, float] = known.get("seconds_a_step", {})
    if not set(labels) <= seconds.keys():
        seconds = {label: float(f"{value:.3g}") for label, value in measure_step_seconds().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"equal": "time", "seconds_a_step": seconds}, indent=1), encoding="utf-8")
    model = reference_adapter(experiment, reference)
    trainings = {adapter.label: experiment.adapter_settings(adapter)["training"] for adapter in experiment.algorithms}
    if len({monitoring.length_unit(training) for training in trainings.values()}) > 1:
        raise InputError("Equal time needs lengths in one unit, but some adapters count epochs and some steps.")
    unit, length = monitoring.length_unit(trainings[model.label]), monitoring.training_length(trainings[model.label])
    lines = [f"equal time: {length:g} {unit}s of `{model.label}`, {seconds[model.label]:g} s a step ({file.name})"]
    fitted = []
    for adapter in experiment.algorithms:
        own = length * seconds[model.label] / seconds[adapter.label]
        chosen = adapter if adapter is model else _with_length(adapter, unit, own)
        lines.append(f"  {adapter.label:<24}{seconds[adapter.label]:>8g} s a step, {own:.4g} {unit}s")
        fitted.append(chosen)
    return _with_adapters(experiment, fitted), lines


def _with_length(adapter: AdapterConfig, unit: str, length: float) -> AdapterConfig:
    others = {name: value for name, value in adapter.training.items() if name not in ("steps", "epochs")}
    if unit == "step":
        return adapter.model_copy(update={"steps": max(1, round(length)), "training": others})
    return adapter.model_copy(update={"steps": None, "training": {**others, "epochs": float(f"{length:.4g}")}})


def _with_adapters(experiment: Experiment, adapters: Sequence[AdapterConfig]) -> Experiment:
    """The experiment with other adapters, every rule checked again."""
    values = {**experiment.model_dump(exclude_unset=True), "algorithms": [each.model_dump() for each in adapters]}
    return Experiment.model_validate(values)
