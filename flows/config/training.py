"""The training settings that a user gave: whether there are such, and how they replace the recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lycoris.errors import InputError, unknown_name_error


def validate_training(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as given, every name and every value by itself found good; ``"1e-3"``, text to YAML, is a number.

    Raises:
        InputError: a name is unknown, or a value is of the wrong type or out of its range.
    """
    if not overrides:
        return {}
    from lycoris.training import TrainingSettings

    names = list(TrainingSettings.__dataclass_fields__)
    for name in overrides:
        if name not in names:
            raise unknown_name_error("training setting", name, names)
    length = {} if overrides.keys() & {"steps", "epochs"} else {"steps": 1}
    try:
        made = TypeAdapter(TrainingSettings).validate_python({**overrides, **length})
    except ValidationError as error:
        raise InputError("\n".join(_format_error(fault) for fault in error.errors())) from error
    return {name: getattr(made, name) for name in overrides}


def merge_training(defaults: Mapping[str, Any], *overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's settings with those in their place that were given, the later over the earlier.

    A length, `steps` or `epochs`, replaces the other; the recipe's warm-up becomes at most a tenth of the steps.
    """
    found: dict[str, Any] = {}
    for settings in (defaults, *overrides):
        if settings.keys() & {"steps", "epochs"}:
            found = {name: value for name, value in found.items() if name not in ("steps", "epochs")}
        found |= settings
    names = {name for settings in overrides for name in settings}
    if "steps" in names and found.get("steps") and "warmup_steps" not in names:
        found["warmup_steps"] = min(found["warmup_steps"], found["steps"] // 10)
    return found


def combine_scopes(options: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """What was given at one place of an experiment: its own options that are also training settings, and `training`.

    Raises:
        InputError: something was given both ways.
    """
    own = {name: value for name, value in options.items() if value is not None}
    for name in own.keys() & training.keys():
        raise InputError(f"Option `{name}` is given twice, by itself and in `training`.")
    return {**own, **training}


def _format_error(error: Any) -> str:
    if isinstance(error.get("ctx", {}).get("error"), InputError):
        return str(error["ctx"]["error"])
    where = ".".join(str(part) for part in error["loc"])
    return f"Option `training.{where}`: {error['msg']}, but got `{error['input']}`."
