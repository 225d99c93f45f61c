"""One way of adapting a base, as an experiment's file says it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from flows.config.training import checked
from lycoris.errors import unknown
from lycoris.safety.file_names import is_text

CaptionStrategy = Literal["none", "all", "adjusted", "sentence"]


class Record(BaseModel):
    """A frozen record that refuses names it does not know, texts that cannot be shown, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _shown(cls, value: Any) -> Any:
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, str | Path) and not is_text(str(each)):
                raise ValueError("must be text without control characters")
        return value


def _known_preset(name: str) -> str:
    """A preset's name as it is, or an `InputError`."""
    from lycoris.adapters.layers.presets import PRESETS

    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return name


Preset = Annotated[str, AfterValidator(_known_preset)]
Dials = Annotated[dict[str, Any], AfterValidator(checked)]
"""Settings of docs/training.md."""


class Adapter(Record):
    """One way of adapting the base. What is left out comes from the base's recipe for the algorithm."""

    algorithm: str = Field(description="lora, loha, lokr, full (native) or any other in lycoris.ALGORITHMS")
    preset: Preset | None = Field(None, description="which layers: attn-only, attn-mlp, full, ...")
    rank: int | None = Field(None, ge=1)
    alpha: float | None = Field(None, gt=0)
    factor: int | None = Field(None, description="how LoKr splits dimensions; -1 is the most even split")
    learning_rate: float | None = Field(None, gt=0)
    rate: float | None = Field(None, gt=0, description="learning rate as a multiple of the recipe's")
    steps: int | None = Field(None, ge=1)
    pictures: int | None = Field(None, ge=1, description="how many of a concept's it learns from; default: all")
    captions: tuple[CaptionStrategy, ...] | None = Field(None, description="in place of the experiment's")
    training: Dials = Field({}, description="any setting of docs/training.md, for this adapter alone")

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        from lycoris.adapters import ALGORITHMS

        name = {"native": "full"}.get(name, name)
        if name not in ALGORITHMS:
            raise unknown("algorithm", name, [*ALGORITHMS, "native"])
        return name

    @field_validator("captions", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return value if value is None else listed(value)

    @field_validator("captions")
    @classmethod
    def _strategies(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError("must name at least one strategy, and each once")
        return value

    @model_validator(mode="after")
    def _one_rate(self) -> Adapter:
        if self.rate is not None and (self.learning_rate is not None or "learning_rate" in self.training):
            raise ValueError("`rate` and `learning_rate` are two ways to say one thing: give one of them")
        return self

    @property
    def label(self) -> str:
        """The algorithm's name, followed by whatever was set by hand: ``"lora rank=16"``."""
        extra = {**self.model_dump(exclude={"algorithm", "captions", "training"}, exclude_none=True), **self.training}
        return " ".join([self.algorithm, *(f"{name}={_compact(value)}" for name, value in extra.items())])


def _compact(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def listed(value: Any) -> Any:
    """`--set seeds=1` and `--set algorithms=lora,lokr` mean lists."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list | tuple) else [value]


def swept(entry: Any) -> list[Any]:
    """A mapping of an adapter's options of which some have several values, as one mapping for each combination."""
    if not isinstance(entry, dict):
        return [entry]
    several = {name: value for name, value in entry.items() if isinstance(value, list | tuple) and name != "captions"}
    return [{**entry, **dict(zip(several, chosen, strict=True))} for chosen in itertools.product(*several.values())]
