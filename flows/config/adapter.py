"""One way of adapting a base, as an experiment's file says it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from flows.config.training import validate_training
from lycoris.errors import unknown_name_error
from lycoris.safety.file_names import is_printable
from lycoris.terms import CaptionStrategy


class ConfigRecord(BaseModel):
    """A frozen record that refuses names it does not know, texts that cannot be shown, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, str | Path) and not is_printable(str(each)):
                raise ValueError("must be text without control characters")
        return value


def _check_preset(name: str) -> str:
    """A preset's name as it is, or an `InputError`."""
    from lycoris.adapters.layers.presets import PRESETS

    if name not in PRESETS:
        raise unknown_name_error("preset", name, PRESETS)
    return name


Preset = Annotated[str, AfterValidator(_check_preset)]
TrainingOverrides = Annotated[dict[str, Any], AfterValidator(validate_training)]
"""Settings of docs/training.md."""


class AdapterConfig(ConfigRecord):
    """One way of adapting the base. What is left out comes from the base's recipe for the algorithm."""

    algorithm: str = Field(description="lora, loha, lokr, full (native) or any other in lycoris.ALGORITHMS")
    preset: Preset | None = Field(None, description="which layers: attn-only, attn-mlp, full, ...")
    rank: int | None = Field(None, ge=1)
    alpha: float | None = Field(None, gt=0)
    factor: int | None = Field(None, description="how LoKr splits dimensions; -1 is the most even split")
    learning_rate: float | None = Field(None, gt=0)
    learning_rate_multiplier: float | None = Field(
        None, gt=0, description="learning rate as a multiple of the recipe's"
    )
    steps: int | None = Field(None, ge=1)
    pictures: int | None = Field(None, ge=1, description="how many of a concept's it learns from; default: all")
    captions: tuple[CaptionStrategy, ...] | None = Field(None, description="in place of the experiment's")
    training: TrainingOverrides = Field({}, description="any setting of docs/training.md, for this adapter alone")

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, name: str) -> str:
        from lycoris.adapters import ALGORITHMS

        name = {"native": "full"}.get(name, name)
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
    def _check_learning_rate(self) -> AdapterConfig:
        if self.learning_rate_multiplier is not None and (
            self.learning_rate is not None or "learning_rate" in self.training
        ):
            raise ValueError("`learning_rate_multiplier` and `learning_rate` exclude each other: set one of them")
        return self

    @property
    def label(self) -> str:
        """The algorithm's name, followed by whatever was set by hand: ``"lora rank=16"``."""
        extra = {**self.model_dump(exclude={"algorithm", "captions", "training"}, exclude_none=True), **self.training}
        return " ".join([self.algorithm, *(f"{name}={_format_value(value)}" for name, value in extra.items())])


def _format_value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def as_list(value: Any) -> Any:
    """`--set seeds=1` and `--set algorithms=lora,lokr` mean lists."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list | tuple) else [value]


def expand_sweep(entry: Any) -> list[Any]:
    """A mapping of an adapter's options of which some have several values, as one mapping for each combination."""
    if not isinstance(entry, dict):
        return [entry]
    several = {name: value for name, value in entry.items() if isinstance(value, list | tuple) and name != "captions"}
    return [{**entry, **dict(zip(several, chosen, strict=True))} for chosen in itertools.product(*several.values())]
