"""When a challenger replaces the champion, by a rule that can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lycoris.analysis.text.formatting import decimal_places, format_interval, format_number
from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.score import ScoreRecord
from lycoris.terms import HEADLINE_SCORES

PROMOTION_RULE = (
    "On the same prompts and seeds, and against images that the challenger was not trained on, the challenger must be "
    "better than the champion in the target dimension, outside the 95 % interval of their difference in every encoder; "
    "and no other dimension may be worse, outside its interval in any encoder, by more than its tolerance. Dimensions "
    "are compared by " + ", ".join(f"{score} ({name})" for name, score in HEADLINE_SCORES.items()) + "."
)


@dataclass(frozen=True)
class PromotionDecision:
    """The outcome of comparing a challenger with the champion.

    Attributes:
        promoted: whether the challenger replaces the champion.
        reason: why, in one sentence.
        dimensions: dimension -> ``"better"``, ``"worse"``, ``"no difference shown"`` or ``"not measured"``.
    """

    promoted: bool
    reason: str
    dimensions: dict[str, str]


def decide_promotion(
    scores: Sequence[ScoreRecord], target_dimension: str = "fidelity", tolerances: Mapping[str, float] = {}
) -> PromotionDecision:
    """Whether a challenger is promoted, by `PROMOTION_RULE`.

    Args:
        scores: of `lycoris.metrics.paired_comparison`.
        target_dimension: the dimension that must be better.
        tolerances: dimension -> how much worse it may be, in the unit of its score, at least 0; 0 where absent.

    Raises:
        InputError: A dimension is unknown, or a tolerance is below 0.
    """
    for name in (target_dimension, *tolerances):
        if name not in HEADLINE_SCORES:
            raise unknown_name_error("dimension", name, HEADLINE_SCORES)
    for name, tolerance in tolerances.items():
        if not tolerance >= 0:
            raise InputError(f"Argument `tolerances` must be at least 0, but got {tolerance} for `{name}`.")
    by_dimension = {
        name: [one for one in scores if one["name"].startswith(f"{score}/")] for name, score in HEADLINE_SCORES.items()
    }
    outcomes = {name: _dimension_outcome(own, tolerances.get(name, 0.0)) for name, own in by_dimension.items()}
    worse = [name for name, state in outcomes.items() if state == "worse" and name != target_dimension]
    promoted = outcomes[target_dimension] == "better" and not worse
    details = "; ".join(
        _describe_scores(name, by_dimension[name]) for name in (target_dimension, *worse) if by_dimension[name]
    )
    if promoted:
        reason = f"better in {target_dimension}, and nothing worse than tolerated ({details})"
    elif outcomes[target_dimension] != "better":
        reason = f"{target_dimension}: {outcomes[target_dimension]}" + (f" ({details})" if details else "")
    else:
        reason = f"better in {target_dimension}, but worse in {', '.join(worse)} ({details})"
    return PromotionDecision(promoted, reason, outcomes)


def _dimension_outcome(scores: Sequence[ScoreRecord], tolerance: float) -> str:
    intervals = [_oriented_interval(score) for score in scores]
    if not intervals or any(interval is None for interval in intervals):
        return "not measured"
    ends = [interval for interval in intervals if interval is not None]
    if any(high < -tolerance for _, high in ends):
        return "worse"
    return "better" if all(low > 0 for low, _ in ends) else "no difference shown"


def _oriented_interval(score: ScoreRecord) -> tuple[float, float] | None:
    """The interval of the difference, with the sign that makes a larger value better."""
    low, high = score["difference_low"], score["difference_high"]
    if low is None or high is None:
        return None
    return (low, high) if score["higher_is_better"] else (-high, -low)


def _describe_scores(dimension: str, scores: Sequence[ScoreRecord]) -> str:
    def one(score: ScoreRecord) -> str:
        if score["difference_low"] is None:
            return f"{score['name']} {score['note'] or 'has no interval'}"
        digits = decimal_places((score["difference_low"], score["difference_high"]))
        ends = format_interval(score["difference_low"], score["difference_high"], digits)
        return f"{score['name']} {format_number(score['difference'], digits, signed=True)} {ends}"

    return ", ".join(one(score) for score in scores)
