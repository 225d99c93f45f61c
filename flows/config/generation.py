"""Which images an experiment generates, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, create_model, model_validator

from flows.config.record import ConfigRecord
from lycoris.terms import PROMPT_TYPES

MAX_IMAGES = 10_000
"""The largest number of images of one prompt type."""
MAX_SEED = 2**62


class _ImageCounts(ConfigRecord):
    """How many images each adapter and the base model generate for each prompt type."""

    def of(self, prompt_type: str) -> int:
        """Return the number of images of one prompt type."""
        return getattr(self, prompt_type)

    @property
    def total(self) -> int:
        """The number of images of all prompt types."""
        return sum(self.of(name) for name in PROMPT_TYPES)

    @model_validator(mode="after")
    def _check_total(self) -> Self:
        if self.total == 0:
            raise ValueError("at least one prompt type needs an image")
        return self


if TYPE_CHECKING:
    ImageCounts = _ImageCounts
else:
    ImageCounts = create_model(
        "ImageCounts",
        __base__=_ImageCounts,
        **{
            name: (int, Field(entry.count, ge=0, le=MAX_IMAGES, description=entry.about))
            for name, entry in PROMPT_TYPES.items()
        },
    )
    """The record with a field for each prompt type."""


class SamplingConfig(ConfigRecord):
    """How images are generated."""

    scheduler: str | None = Field(
        None, description="a scheduler listed below, or a diffusers class; default: that of the base model"
    )
    steps: int | None = Field(None, ge=1, description="denoising steps; default: 25, on the pocket base 14")
    guidance: float | None = Field(
        None, ge=1, description="guidance scale; 1: none; default: that of the base model, 7 for Stable Diffusion"
    )
    seed: int = Field(
        1000, ge=0, le=MAX_SEED, description="seed of the first image of each prompt type; the n-th image adds n"
    )
    batch_size: int = Field(16, ge=1, description="images generated at the same time")
