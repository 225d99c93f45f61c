"""From tables of scores to ranks and to a choice."""

from lycoris.analysis.decisions.champion_selection import RULE, Choice, choose
from lycoris.analysis.decisions.promotion import PROMOTION_RULE, Judgement, judge
from lycoris.analysis.statistics.ranks import dimension_ranks, scaled_ranks

__all__ = [
    "PROMOTION_RULE",
    "RULE",
    "Choice",
    "Judgement",
    "choose",
    "dimension_ranks",
    "judge",
    "scaled_ranks",
]
