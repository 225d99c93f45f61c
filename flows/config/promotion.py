"""When a challenger replaces the champion of its concept."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PromotionConfig(BaseModel):
    """The parameters of the promotion rule, `lycoris.analysis.PROMOTION_RULE`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_dimension: str = Field("fidelity", description="the dimension in which the challenger must be better")
    tolerances: dict[str, float] = Field(
        {}, description="dimension -> how much worse it may become; the others may not become worse"
    )
