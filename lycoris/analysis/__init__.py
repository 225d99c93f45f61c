"""From tables of scores to ranks and to a choice."""

from lycoris.analysis.decisions.champion_selection import CHAMPION_RULE, Champion, select_champion
from lycoris.analysis.decisions.promotion import PROMOTION_RULE, PromotionDecision, decide_promotion
from lycoris.analysis.statistics.ranks import AdapterScore, dimension_ranks, scaled_ranks

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
