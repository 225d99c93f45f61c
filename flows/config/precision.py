"""In how many bits the weights of the base are kept, and the card that they have to fit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flows.config.record import ConfigRecord


def _check_memory(value: Any) -> str:
    from lycoris.planning.cards import parse_memory

    parse_memory(value)
    return str(value)


CardMemory = Annotated[str, BeforeValidator(_check_memory)]
"""Memory of a card, such as ``"12GB"``, or its name."""
Precision = Literal["nf4", "int8", "fp8", "bf16", "fp16", "fp32"]


class PrecisionConfig(ConfigRecord):
    """Precision of the base's weights: nf4, int8, fp8, bf16, fp16 or fp32; one value is for both parts."""

    denoiser: Precision | None = Field(None, description="default: bf16 on a GPU that has it, else fp32")
    text_encoders: Precision | None = Field(None, description="the same for the text encoders")

    @model_validator(mode="before")
    @classmethod
    def _for_both(cls, value: Any) -> Any:
        return {"denoiser": value, "text_encoders": value} if isinstance(value, str) else value
