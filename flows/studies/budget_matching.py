"""Comparisons on equal terms: ranks that give adapters the same size, or lengths that take the same time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import monitoring
from flows.config.experiment import Adapter, Experiment
from lycoris.errors import InputError, unknown

KINDS = ("parameters", "time")
FILE = "budget.json"
WIDEST = 1024
"""The largest rank or factor that is tried."""


@dataclass(frozen=True)
class Budget:
    """What all adapters of a study are to have in common.

    Attributes:
        kind: ``"parameters"`` or ``"time"``.
        of: the label of the adapter that sets it; None for the first.
    """

    kind: str
    of: str | None = None


def budget(value: Any) -> Budget | None:
    """What a study's ``equal`` says: a word, or the word with the adapter that sets the budget.

    Raises:
        InputError: it is neither.
    """
    if value is None:
        return None
    pair = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, None)
    if pair[0] not in KINDS:
        raise unknown("budget", pair[0], KINDS)
    return Budget(pair[0], None if pair[1] is None else str(pair[1]))


def reference(experiment: Experiment, of: str | None) -> Adapter:
    """The adapter that sets a budget."""
    found = [adapter for adapter in experiment.algorithms if of in (None, adapter.label)]
    if not found:
        raise unknown("adapter", of, [adapter.label for adapter in experiment.algorithms])
    return found[0]


def equal_parameters(
    experiment: Experiment, of: str | None, count: Callable[[Mapping[str, Any]], int]
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
    model = reference(experiment, of)
    target = count(experiment.settings(model))
    fitted, lines = [], [f"equal parameters: {target:,} numbers, as `{model.label}` has"]
    for adapter in experiment.algorithms:
        chosen = adapter if adapter is model else _nearest(experiment, adapter, target, count)
        own = count(experiment.settings(chosen))
        note = "" if own == target or chosen is not adapter else "; nothing nearer, left as it is"
        lines.append(f"  {chosen.label:<24}{own:>12,} numbers, {own / target:.2f} times{note}")
        fitted.append(chosen)
    return _with(experiment, fitted), lines


def _nearest(
    experiment: Experiment, adapter: Adapter, target: int, count: Callable[[Mapping[str, Any]], int]
) -> Adapter:
    settings = experiment.settings(adapter)
    dial = "factor" if settings["factor"] is not None or adapter.algorithm == "lokr" else "rank"
    known: dict[int, int | None] = {}

    def tried(value: int) -> int | None:
        if value not in known:
            try:
                known[value] = count(experiment.settings(_turned(adapter, settings, dial, value)))
            except InputError:
                known[value] = None
        return known[value]

    least = 2 if dial == "factor" else 1
    if tried(least) is None or tried(least) == tried(least + 1):
        return adapter  # it has no such dial
    low, high = least, WIDEST
    while high - low > 1:  # a larger rank is a larger adapter, a larger factor a smaller one
        middle = (low + high) // 2
        size = tried(middle)
        enough = size is None or (size >= target if dial == "rank" else size <= target)
        low, high = (low, middle) if enough else (middle, high)
    for value in range(max(least, low - 2), low + 4):  # factors that do not divide a layer make small waves
        tried(value)
    sizes = {value: size for value, size in known.items() if size is not None}
    best = min(sizes, key=lambda value: (abs(sizes[value] - target), value))
    return adapter if best == settings[dial] else _turned(adapter, settings, dial, best)


def _turned(adapter: Adapter, settings: Mapping[str, Any], dial: str, value: int) -> Adapter:
    change: dict[str, Any] = {dial: value}
    if dial == "rank" and adapter.alpha is not None and settings["rank"]:
        change["alpha"] = adapter.alpha * value / settings["rank"]
    return adapter.model_copy(update=change)


def equal_time(
    experiment: Experiment, of: str | None, step: Callable[[], Mapping[str, float]], kept: Path
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
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    seconds: Mapping[str, float] = known.get("seconds_a_step", {})
    if not set(labels) <= seconds.keys():
        seconds = {label: float(f"{value:.3g}") for label, value in step().items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"equal": "time", "seconds_a_step": seconds}, indent=1), encoding="utf-8")
    model = reference(experiment, of)
    trainings = {adapter.label: experiment.settings(adapter)["training"] for adapter in experiment.algorithms}
    if len({monitoring.unit(training) for training in trainings.values()}) > 1:
        raise InputError("Equal time needs lengths in one unit, but some adapters count epochs and some steps.")
    unit, length = monitoring.unit(trainings[model.label]), monitoring.length(trainings[model.label])
    lines = [f"equal time: {length:g} {unit}s of `{model.label}`, {seconds[model.label]:g} s a step ({kept.name})"]
    fitted = []
    for adapter in experiment.algorithms:
        own = length * seconds[model.label] / seconds[adapter.label]
        chosen = adapter if adapter is model else _long(adapter, unit, own)
        lines.append(f"  {adapter.label:<24}{seconds[adapter.label]:>8g} s a step, {own:.4g} {unit}s")
        fitted.append(chosen)
    return _with(experiment, fitted), lines


def _long(adapter: Adapter, unit: str, length: float) -> Adapter:
    others = {name: value for name, value in adapter.training.items() if name not in ("steps", "epochs")}
    if unit == "step":
        return adapter.model_copy(update={"steps": max(1, round(length)), "training": others})
    return adapter.model_copy(update={"steps": None, "training": {**others, "epochs": float(f"{length:.4g}")}})


def _with(experiment: Experiment, adapters: Sequence[Adapter]) -> Experiment:
    """The experiment with other adapters, every rule checked again."""
    values = {**experiment.model_dump(exclude_unset=True), "algorithms": [each.model_dump() for each in adapters]}
    return Experiment.model_validate(values)
