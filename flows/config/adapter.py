"""One adapter of an experiment: an algorithm and what is set for it."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from flows.config.record import ConfigRecord
from flows.config.training import validate_training
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import CaptionStrategy

ADAPTER_HINT = "An option of an adapter is set in a mapping: --set 'algorithms=[{{algorithm: lora, {}: ...}}]'."


def _check_preset(name: str) -> str:
    from lycoris.adapters.layers.presets import PRESETS

    if name not in PRESETS:
        raise unknown_name_error("preset", name, PRESETS)
    return name


Preset = Annotated[str, AfterValidator(_check_preset)]
"""A name in `lycoris.adapters.layers.presets.PRESETS`."""
TrainingOverrides = Annotated[dict[str, Any], AfterValidator(validate_training)]
"""Some of the settings in docs/training.md."""


class AdapterConfig(ConfigRecord):
    """An algorithm and its settings; those not set are the defaults of the base model (`flows.config.defaults`).

    The options of a method of PEFT are the fields of its configuration, beside the others in a file.
    """

    algorithm: str = Field(
        description="name of the algorithm; native is another name of full, peft:oft a method of the package peft"
    )
    preset: Preset | None = Field(None, description="which layers are adapted; default: attn-mlp, on the pocket full")
    rank: int | None = Field(
        None, ge=1, description="such as 4, 8 or 32; default: 8 for LoRA, 4 for LoHa; LoKr takes a factor instead"
    )
    alpha: float | None = Field(
        None, gt=0, description="such as 4: the update is scaled by alpha / rank; default: rank / 2, on the pocket rank"
    )
    factor: int | None = Field(None, description="LoKr: how dimensions are split, default 8; -1 is the most even split")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate, such as 1e-4; default: 5e-4, 1e-6 for full (docs/training.md)",
    )
    learning_rate_multiplier: float | None = Field(None, gt=0, description="multiple of the default learning rate")
    steps: int | None = Field(None, ge=1, description="training steps")
    images: int | None = Field(None, ge=1, description="number of images of a concept to train on; default: all")
    captions: tuple[CaptionStrategy, ...] | None = Field(
        None, description="caption strategies of this adapter; default: those of the experiment"
    )
    options: dict[str, Any] = Field({}, description="fields of the configuration of a method of PEFT, such as r: 8")
    training: TrainingOverrides = Field({}, description="settings of docs/training.md for this adapter")

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, values: Any) -> Any:
        """Take the fields of PEFT's configuration from beside the others, where the algorithm is a method of PEFT."""
        from lycoris.adapters.peft_methods.methods import PREFIX

        if not isinstance(values, dict) or not str(values.get("algorithm", "")).startswith(PREFIX):
            return values
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        options = {name: value for name, value in values.items() if name not in cls.model_fields}
        return {**own, "options": {**(own.get("options") or {}), **options}}

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, name: str) -> str:
        from lycoris.adapters import ALGORITHMS

        if "=" in name:
            option = name.partition("=")[0].strip()
            raise InputError(f"Option `algorithms` has `{name}`, which is no algorithm. {ADAPTER_HINT.format(option)}")
        from lycoris.adapters.peft_methods.methods import method_name

        name = {"native": "full"}.get(name, name)
        if method_name(name) is not None:
            return name
        if name not in ALGORITHMS:
            raise unknown_name_error("algorithm", name, [*ALGORITHMS, "native"])
        return name

    @field_validator("captions", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return value if value is None else as_list(value)

    @field_validator("captions")
    @classmethod
    def _check_strategies(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError("must name at least one strategy, and each once")
        return value

    @model_validator(mode="after")
    def _check_options(self) -> AdapterConfig:
        from lycoris.adapters.peft_methods.methods import check_options, method_name

        method = method_name(self.algorithm)
        if method is not None:
            own = {name: getattr(self, name) for name in ("rank", "alpha", "factor")}
            check_options(method, {**{name: value for name, value in own.items() if value is not None}, **self.options})
        elif self.options:
            raise ValueError(f"`options` are for methods of PEFT, but the algorithm is `{self.algorithm}`")
        return self

    @model_validator(mode="after")
    def _check_learning_rate(self) -> AdapterConfig:
        if self.learning_rate_multiplier is not None and (
            self.learning_rate is not None or "learning_rate" in self.training
        ):
            raise ValueError("`learning_rate_multiplier` and `learning_rate` exclude each other: set one of them")
        return self

    @property
    def label(self) -> str:
        """The name of the algorithm, followed by every setting that is set: ``"lora rank=16"``."""
        options = self.model_dump(exclude={"algorithm", "captions", "options", "training"}, exclude_none=True)
        settings = {**options, **self.options, **self.training}
        return " ".join([self.algorithm, *(f"{name}={_format_value(value)}" for name, value in settings.items())])


def _format_value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def as_list(value: Any) -> Any:
    """Return a value as a list; text is split at commas, as in ``--set seeds=1`` and ``--set algorithms=lora,lokr``."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list | tuple) else [value]


def expand_sweep(entry: Any) -> list[Any]:
    """Return one mapping for each combination of values, where options of an adapter have several values."""
    if not isinstance(entry, dict):
        return [entry]
    swept = {name: value for name, value in entry.items() if isinstance(value, list | tuple) and name != "captions"}
    return [{**entry, **dict(zip(swept, values, strict=True))} for values in itertools.product(*swept.values())]
