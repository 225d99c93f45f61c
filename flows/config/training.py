"""Training settings in an experiment: validation, and how they override the defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lycoris.errors import InputError, unknown_name_error

LENGTH_SETTINGS = ("steps", "epochs")


def validate_training(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Check each name and each value by itself; text such as ``"1e-3"``, which YAML reads as text, becomes a number.

    Raises:
        InputError: A name is unknown, or a value has the wrong type or is out of range.
    """
    if not overrides:
        return {}
    from lycoris.training import TrainingSettings

    names = list(TrainingSettings.__dataclass_fields__)
    for name in overrides:
        if name not in names:
            raise unknown_name_error("training setting", name, names)
    length = {} if overrides.keys() & set(LENGTH_SETTINGS) else {"steps": 1}
    try:
        settings = TypeAdapter(TrainingSettings).validate_python({**overrides, **length})
    except ValidationError as error:
        raise InputError("\n".join(_format_problem(problem) for problem in error.errors())) from error
    return {name: getattr(settings, name) for name in overrides}


def merge_training(defaults: Mapping[str, Any], *overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults with overrides applied in order.

    A length, `steps` or `epochs`, replaces the other. If only the number of steps is overridden, the warm-up of the
    defaults becomes at most a tenth of it.
    """
    merged: dict[str, Any] = {}
    for settings in (defaults, *overrides):
        if settings.keys() & set(LENGTH_SETTINGS):
            merged = {name: value for name, value in merged.items() if name not in LENGTH_SETTINGS}
        merged |= settings
    overridden = {name for settings in overrides for name in settings}
    if "steps" in overridden and merged.get("steps") and "warmup_steps" not in overridden:
        merged["warmup_steps"] = min(merged["warmup_steps"], merged["steps"] // 10)
    return merged


def combine_scopes(options: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the options that are also training settings, such as ``steps``, with the field ``training`` beside them.

    Raises:
        InputError: A setting occurs in both.
    """
    own = {name: value for name, value in options.items() if value is not None}
    for name in own.keys() & training.keys():
        raise InputError(f"Option `{name}` is set twice, by itself and in `training`.")
    return {**own, **training}


def _format_problem(problem: Any) -> str:
    if isinstance(problem.get("ctx", {}).get("error"), InputError):
        return str(problem["ctx"]["error"])
    option = ".".join(str(part) for part in problem["loc"])
    return f"Option `training.{option}`: {plain_message(problem['msg'])}, but got `{problem['input']}`."


def plain_message(text: str) -> str:
    """The message of a failed validation, such as ``must be a number``, in the words of this project's errors."""
    text = re.sub(r", unable to (parse|interpret) .*|, got a number with a fractional part", "", text)
    text = text.removeprefix("Value error, ").replace("Input should be ", "must be ")
    return (
        text.replace("a valid number", "a number")
        .replace("a valid integer", "a whole number")
        .replace("a valid boolean", "true or false")
    )
