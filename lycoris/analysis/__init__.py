"""From tables of scores to ranks and to a choice."""

from lycoris.analysis.choice import RULE, Choice, choose
from lycoris.analysis.ranks import dimension_ranks, scaled_ranks

__all__ = ["RULE", "Choice", "choose", "dimension_ranks", "scaled_ranks"]
