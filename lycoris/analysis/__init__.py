"""From tables of scores to ranks and to a choice.

A name is imported when it is first used, since the formats of `lycoris.analysis.text` need neither pandas nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lycoris.analysis.decisions.champion_selection import CHAMPION_RULE, Champion, select_champion
    from lycoris.analysis.decisions.promotion import PROMOTION_RULE, PromotionDecision, decide_promotion
    from lycoris.analysis.statistics.ranks import AdapterScore, dimension_ranks, scaled_ranks

_EXPORTS = {
    "decisions.champion_selection": ("CHAMPION_RULE", "Champion", "select_champion"),
    "decisions.promotion": ("PROMOTION_RULE", "PromotionDecision", "decide_promotion"),
    "statistics.ranks": ("AdapterScore", "dimension_ranks", "scaled_ranks"),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "CHAMPION_RULE",
    "PROMOTION_RULE",
    "AdapterScore",
    "Champion",
    "PromotionDecision",
    "decide_promotion",
    "dimension_ranks",
    "scaled_ranks",
    "select_champion",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
