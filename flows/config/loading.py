"""Experiments from YAML files and ``key=value`` overrides, with readable validation errors."""

from __future__ import annotations

import copy
import difflib
import shlex
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.config import monitoring
from flows.config.adapter import ADAPTER_HINT, AdapterConfig
from flows.config.experiment import Experiment
from flows.config.generation import ImageCounts, SamplingConfig
from flows.config.precision import PrecisionConfig
from flows.config.training import plain_message
from lycoris.errors import InputError, nearest_path_hint, unknown_name_error
from lycoris.safety.yaml_loading import read_yaml

MAX_VALUE_LENGTH = 200
"""Characters of a value that an error message quotes."""

NESTED_GROUPS: dict[str, type[BaseModel]] = {
    "precision": PrecisionConfig,
    "validation": monitoring.ValidationConfig,
    "samples": monitoring.SampleConfig,
    "images": ImageCounts,
    "sampling": SamplingConfig,
}
"""Options of an experiment that are groups of options."""


def load_experiment(file: Path | None, overrides: tuple[str, ...] = ()) -> Experiment:
    """Read an experiment from a YAML file and apply overrides.

    Args:
        file: The file; None for the default experiment.
        overrides: Such as ``"seeds=0,1"`` or ``"images.trigger=4"``; the values are YAML.

    Raises:
        InputError: The file cannot be read or is not a mapping, a name is unknown, or a value is invalid.
    """
    values: dict[str, Any] = {}
    if file is not None:
        if Path(file).is_dir():
            raise InputError(_folder_message(Path(file)))
        try:
            values = read_yaml(Path(file).read_text(encoding="utf-8"), f"The experiment file `{file}`") or {}
        except OSError as error:
            raise InputError(
                f"The experiment file `{file}` cannot be read: {error.strerror}.{nearest_path_hint(file)}"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"The experiment file `{file}` is not readable YAML: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"The experiment file `{file}` must hold `name: value` lines.")
    try:
        return parse_experiment(apply_overrides(copy.deepcopy(values), overrides))
    except InputError as error:
        if file is not None and _fails_alike(values, error):
            raise InputError(f"In `{file}`: {error}") from error
        raise


def _folder_message(folder: Path) -> str:
    """What to type where a folder stands in place of an experiment file."""
    text = f"The experiment file `{folder}` is a folder."
    if (folder / "experiment.yaml").is_file():
        return f"{text} It holds a project: `cd {shlex.quote(str(folder))} && lycoris run experiment.yaml`."
    command = shlex.join(["lycoris", "run", "--set", f"data={folder}"])
    return f"{text} To run on the images in it: `{command}`."


def _fails_alike(values: dict[str, Any], error: InputError) -> bool:
    """Whether these values without overrides have the same error."""
    try:
        parse_experiment(values)
    except InputError as own:
        return str(own) == str(error)
    return False


def apply_overrides(values: dict[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """Set ``key=value`` overrides, such as ``"images.trigger=4"``, in nested values; the values are YAML.

    Raises:
        InputError: An override is not a pair, or its key or value cannot be read.
    """
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"`--set {override}`: expected `key=value`.")
        target = values
        *parents, last = name.strip().split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise InputError(f"`--set {override}`: `{parent}` is not a group of options.")
        if not text.strip():
            raise InputError(f"`--set {override}`: the value is empty; for no value write `{name.strip()}=null`.")
        target[last] = read_yaml(text, f"`--set {override}`: the value")
    return values


def parse_experiment(values: dict[str, Any]) -> Experiment:
    """Validate the values of an experiment.

    Raises:
        InputError: A name is unknown or a value is invalid; the message names every problem.
    """
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise InputError(_format_validation_error(error)) from error


def _format_validation_error(error: ValidationError) -> str:
    return "\n".join(dict.fromkeys(_format_problem(problem) for problem in error.errors()))


def _format_problem(problem: Any) -> str:
    option = _option_name(problem["loc"])
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        return _unknown_option(str(problem["loc"][-1]), problem["loc"][:-1])
    if problem["type"] == "literal_error":
        allowed = [part.strip("' ") for part in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        return f"Option `{option}` must be one of {', '.join(allowed)}, but got `{_truncate(value)}`.{hint}"
    if isinstance(problem.get("ctx", {}).get("error"), InputError):
        return str(problem["ctx"]["error"])
    message = plain_message(problem["msg"])
    if not option:
        return f"{message}."
    got = "" if isinstance(value, dict | Experiment | ImageCounts) else f", but got `{_truncate(value)}`"
    return f"Option `{option}`: {message}{got}.".replace("..", ".")


def _option_name(location: tuple[Any, ...]) -> str:
    """Return the option as it is written; a place at the end of its list is left out, as the message has the value."""
    named = location[:-1] if len(location) > 1 and isinstance(location[-1], int) else location
    return ".".join(str(part) for part in named)


def _unknown_option(name: str, location: tuple[Any, ...]) -> str:
    """The message for an unknown option, with where it belongs if that is elsewhere."""
    if not location and name in AdapterConfig.model_fields and name != "algorithm":  # `algorithms` is meant
        return f"Unknown option `{name}`. {ADAPTER_HINT.format(name)}"
    if not location:
        from lycoris.training import TrainingSettings

        if name in TrainingSettings.__dataclass_fields__:
            return f"Unknown option `{name}`. It is a training setting: `--set training.{name}=...` (docs/training.md)."
    return str(unknown_name_error("option", name, _field_names(location)))


def _truncate(value: Any) -> str:
    try:
        text = str(value)
    except ValueError:  # Python does not format integers of more than a few thousand digits
        return "a very large number"
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}..."


def _field_names(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Experiment
    for part in location:
        model = AdapterConfig if part == "algorithms" else NESTED_GROUPS.get(str(part), model)
    return list(model.model_fields)
