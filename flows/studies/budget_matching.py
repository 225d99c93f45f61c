"""Fair comparisons: capacities that give adapters the same size, or training lengths that take the same time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from flows.config import monitoring
from flows.config.adapter import AdapterConfig
from flows.config.experiment import Experiment
from flows.config.record import ConfigRecord
from lycoris.adapters.peft_methods.methods import METHODS, PREFIX
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError, unknown_name_error
from tasks.trainings import AdapterSettings

BudgetKind = Literal["parameters", "time"]
BUDGET_KINDS: tuple[BudgetKind, ...] = get_args(BudgetKind)
BUDGET_FILE = "budget.json"
CountParameters = Callable[[AdapterSettings], int]
"""Counts the trained parameters of an adapter; raises `InputError` for settings that are not possible."""
MAX_CAPACITY = 1024
"""The largest rank or factor that is considered."""
MAX_TRIALS = 6
"""How many values of an option of PEFT are tried."""


class BudgetMatch(ConfigRecord):
    """What all adapters of a study have in common.

    Attributes:
        kind: ``"parameters"`` or ``"time"``.
        reference: The label of the adapter that sets the budget; None for the first.
    """

    kind: BudgetKind
    reference: str | None = None


def parse_budget(value: Any) -> BudgetMatch | None:
    """Read the field ``match_budget`` of a study: a kind, or ``{kind: label of the reference adapter}``.

    Raises:
        InputError: The kind is unknown.
    """
    if value is None:
        return None
    kind, label = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, None)
    if kind not in BUDGET_KINDS:
        raise unknown_name_error("budget", kind, BUDGET_KINDS)
    return BudgetMatch(kind=kind, reference=None if label is None else str(label))


def match_budget(experiment: Experiment, match: BudgetMatch | None) -> tuple[Experiment, list[str]]:
    """Give the adapters of an experiment the same budget.

    Returns:
        The experiment, and lines that describe the change; none where nothing is to be matched.

    Raises:
        InputError: The base model is not available, or no adapter has the label of the reference.
    """
    if match is None:
        return experiment, []
    if match.kind == "parameters":
        from lycoris.bases import parameter_count

        parts = parameter_count.meta_parts(experiment.base, **experiment.base_options().for_parts)
        return match_parameters(
            experiment, match.reference, lambda settings: parameter_count.count_parameters(parts, settings.as_dict())
        )
    from flows.studies.benchmark import measure_timings
    from lycoris import bases

    return match_time(
        experiment,
        match.reference,
        lambda: (
            measure_timings(
                experiment, bases.digest(experiment.base, **experiment.base_options().for_base)
            ).step_seconds
        ),
        experiment.output / experiment.name / BUDGET_FILE,
    )


def reference_adapter(experiment: Experiment, label: str | None) -> AdapterConfig:
    """Return the adapter that sets a budget."""
    for adapter in experiment.algorithms:
        if label in (None, adapter.label):
            return adapter
    raise unknown_name_error("adapter", label, [adapter.label for adapter in experiment.algorithms])


def match_parameters(
    experiment: Experiment, reference: str | None, count_parameters: CountParameters
) -> tuple[Experiment, list[str]]:
    """Choose the ranks and factors that bring the size of each adapter nearest to that of the reference.

    An algorithm with a factor is matched by its factor, a method of PEFT by the option that sets its size, any other by
    its rank, with alpha in proportion. An algorithm with none of these is left unchanged.

    Args:
        reference: The label of the adapter that sets the size; None for the first.
        count_parameters: Counts the trained parameters of an adapter.

    Returns:
        The experiment, and one line for each adapter.
    """
    target_adapter = reference_adapter(experiment, reference)
    target = count_parameters(experiment.adapter_settings(target_adapter))
    matched, lines = [], [f"equal parameters: {target:,} numbers, as `{target_adapter.label}` has"]
    for adapter in experiment.algorithms:
        chosen = (
            adapter if adapter is target_adapter else _nearest_in_size(experiment, adapter, target, count_parameters)
        )
        size = count_parameters(experiment.adapter_settings(chosen))
        note = "" if size == target or chosen is not adapter else "; nothing is nearer, left unchanged"
        lines.append(f"  {chosen.label:<24}{size:>12,} numbers, {size / target:.2f} times{note}")
        matched.append(chosen)
    return _with_adapters(experiment, matched), lines


def _nearest_in_size(
    experiment: Experiment,
    adapter: AdapterConfig,
    target: int,
    count_parameters: CountParameters,
) -> AdapterConfig:
    settings = experiment.adapter_settings(adapter)
    if adapter.algorithm.startswith(PREFIX):
        return _method_nearest_in_size(experiment, adapter, target, count_parameters)
    name = "factor" if settings.factor is not None or adapter.algorithm == "lokr" else "rank"
    sizes: dict[int, int | None] = {}

    def size_at(value: int) -> int | None:
        if value not in sizes:
            try:
                sizes[value] = count_parameters(
                    experiment.adapter_settings(_with_capacity(adapter, settings, name, value))
                )
            except InputError:
                sizes[value] = None
        return sizes[value]

    smallest = 2 if name == "factor" else 1
    if size_at(smallest) is None or size_at(smallest) == size_at(smallest + 1):
        return adapter  # its size does not depend on this setting
    low, high = smallest, MAX_CAPACITY
    while high - low > 1:  # a larger rank gives a larger adapter, a larger factor a smaller one
        middle = (low + high) // 2
        size = size_at(middle)
        is_enough = size is None or (size >= target if name == "rank" else size <= target)
        low, high = (low, middle) if is_enough else (middle, high)
    for value in range(max(smallest, low - 2), low + 4):  # not monotonic where a factor does not divide a layer
        size_at(value)
    possible = {value: size for value, size in sizes.items() if size is not None}
    best = min(possible, key=lambda value: (abs(possible[value] - target), value))
    return adapter if best == getattr(settings, name) else _with_capacity(adapter, settings, name, best)


def _method_nearest_in_size(
    experiment: Experiment, adapter: AdapterConfig, target: int, count_parameters: CountParameters
) -> AdapterConfig:
    """Return a method of PEFT with the value of its size option that brings it nearest to a size.

    The size grows with the option nearly in proportion, so that few values are tried; of block sizes all are.
    """
    method = METHODS[adapter.algorithm.removeprefix(PREFIX)]
    option = method.size_option
    if option is None:
        return adapter
    sizes: dict[int, int] = {}

    def size_at(value: int) -> int | None:
        try:
            sizes[value] = count_parameters(experiment.adapter_settings(_with_option(adapter, option, value)))
        except InputError:
            return None
        return sizes[value]

    for one in method.size_values:
        size_at(one)
    value = 4
    for _ in range(0 if method.size_values else MAX_TRIALS):
        size = size_at(value)
        proposed = value // 2 if size is None else max(1, min(MAX_CAPACITY, round(value * target / size)))
        if proposed in (0, value) or proposed in sizes:
            break
        value = proposed
    if not sizes or (len(sizes) > 1 and len(set(sizes.values())) == 1):
        return adapter  # no value fits, or its size does not depend on this option
    best = min(sizes, key=lambda one: (abs(sizes[one] - target), one))
    chosen = _with_option(adapter, option, best)
    unchanged = experiment.adapter_settings(adapter).options == experiment.adapter_settings(chosen).options
    return adapter if unchanged else chosen


def _with_option(adapter: AdapterConfig, option: str, value: int) -> AdapterConfig:
    return adapter.model_copy(update={"options": {**adapter.options, option: value}})


def _with_capacity(adapter: AdapterConfig, settings: AdapterSettings, name: str, value: int) -> AdapterConfig:
    update: dict[str, Any] = {name: value}
    if name == "rank" and adapter.alpha is not None and settings.rank:
        update["alpha"] = adapter.alpha * value / settings.rank
    return adapter.model_copy(update=update)


def match_time(
    experiment: Experiment,
    reference: str | None,
    measure_step_seconds: Callable[[], Mapping[str, float]],
    file: Path,
) -> tuple[Experiment, list[str]]:
    """Choose the training lengths that take as much wall-clock time as the training of the reference.

    Args:
        reference: The label of the adapter that sets the time; None for the first.
        measure_step_seconds: Returns the label of each adapter -> seconds of a training step.
        file: Where these seconds are saved once they were measured, so that a resumed study has the same lengths.

    Returns:
        The experiment, and one line for each adapter.

    Raises:
        InputError: The length of one adapter is in epochs, that of another in steps.
    """
    seconds = _load_step_seconds(experiment, measure_step_seconds, file)
    target = reference_adapter(experiment, reference)
    trainings = {adapter.label: experiment.adapter_settings(adapter).training for adapter in experiment.algorithms}
    if len({monitoring.length_unit(training) for training in trainings.values()}) > 1:
        raise InputError("Equal time needs lengths in one unit, but some adapters count epochs and some steps.")
    unit, length = monitoring.length_unit(trainings[target.label]), monitoring.training_length(trainings[target.label])
    lines = [f"equal time: {length:g} {unit}s of `{target.label}`, {seconds[target.label]:g} s a step ({file.name})"]
    matched = []
    for adapter in experiment.algorithms:
        matched_length = length * seconds[target.label] / seconds[adapter.label]
        matched.append(adapter if adapter is target else _with_length(adapter, unit, matched_length))
        lines.append(f"  {adapter.label:<24}{seconds[adapter.label]:>8g} s a step, {matched_length:.4g} {unit}s")
    return _with_adapters(experiment, matched), lines


def _load_step_seconds(
    experiment: Experiment, measure_step_seconds: Callable[[], Mapping[str, float]], file: Path
) -> Mapping[str, float]:
    """Return the seconds saved in a file; measure and save them if an adapter is not in it."""
    saved = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    seconds: dict[str, float] = saved.get("step_seconds", {})
    if not {adapter.label for adapter in experiment.algorithms} <= seconds.keys():
        seconds = {label: float(f"{value:.3g}") for label, value in measure_step_seconds().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps({"match_budget": "time", "step_seconds": seconds}, indent=1))
    return seconds


def _with_length(adapter: AdapterConfig, unit: str, length: float) -> AdapterConfig:
    training = {name: value for name, value in adapter.training.items() if name not in ("steps", "epochs")}
    if unit == "step":
        return adapter.model_copy(update={"steps": max(1, round(length)), "training": training})
    return adapter.model_copy(update={"steps": None, "training": {**training, "epochs": float(f"{length:.4g}")}})


def _with_adapters(experiment: Experiment, adapters: Sequence[AdapterConfig]) -> Experiment:
    """Return the experiment with other adapters, validated again."""
    values = {**experiment.model_dump(exclude_unset=True), "algorithms": [each.model_dump() for each in adapters]}
    return Experiment.model_validate(values)
