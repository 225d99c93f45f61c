"""When a challenger takes the champion's place: a rule that is stated and can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lycoris.errors import InputError, unknown

TELLING = {
    "fidelity": "image_similarity/trigger",
    "controllability": "text_similarity/alter",
    "diversity": "vendi/trigger",
    "preservation": "style_loss/style",
    "quality": "frechet_distance/train",
}
"""The score by which a dimension is judged: its first metric, on the prompt type that tells most about it."""
PROMOTION_RULE = (
    "On the same prompts and seeds, and against pictures that the challenger was not trained on, the challenger must "
    "be better than the champion in the goal, outside the 95 % interval of their difference in every encoder; and no "
    "other dimension may be worse, outside its interval in any encoder, by more than is allowed for it. Dimensions "
    "are judged by " + ", ".join(f"{score} ({name})" for name, score in TELLING.items()) + "."
)


@dataclass(frozen=True)
class Judgement:
    """What a contest came to.

    Attributes:
        promoted: whether the challenger takes the champion's place.
        reason: one sentence for people.
        dimensions: dimension -> ``"better"``, ``"worse"``, ``"no difference shown"`` or ``"not measured"``.
    """

    promoted: bool
    reason: str
    dimensions: dict[str, str]


def judge(scores: Sequence[Mapping[str, Any]], goal: str = "fidelity", allowed: Mapping[str, float] = {}) -> Judgement:
    """Whether a challenger is promoted, by `PROMOTION_RULE`.

    Args:
        scores: records of `lycoris.metrics.paired_comparison`.
        goal: the dimension that must be better.
        allowed: dimension -> how much worse it may be, in the unit of its score, at least 0; 0 where it is absent.

    Raises:
        InputError: a dimension is unknown or an allowance below 0.
    """
    for name in (goal, *allowed):
        if name not in TELLING:
            raise unknown("dimension", name, TELLING)
    for name, loss in allowed.items():
        if not loss >= 0:
            raise InputError(f"Argument `allowed` must be at least 0, but got {loss} for `{name}`.")
    told = {name: [each for each in scores if each["name"].startswith(f"{score}/")] for name, score in TELLING.items()}
    found = {name: _dimension(some, allowed.get(name, 0.0)) for name, some in told.items()}
    worse = [name for name, state in found.items() if state == "worse" and name != goal]
    promoted = found[goal] == "better" and not worse
    shown = "; ".join(_shown(name, told[name]) for name in (goal, *worse) if told[name])
    if promoted:
        reason = f"better in {goal}, and nothing worse than allowed ({shown})"
    elif found[goal] != "better":
        reason = f"{goal}: {found[goal]}" + (f" ({shown})" if shown else "")
    else:
        reason = f"better in {goal}, but worse in {', '.join(worse)} ({shown})"
    return Judgement(promoted, reason, found)


def _dimension(scores: Sequence[Mapping[str, Any]], allowed: float) -> str:
    gains = [_gain(score) for score in scores]
    if not gains or any(gain is None for gain in gains):
        return "not measured"
    ends = [gain for gain in gains if gain is not None]
    if any(high < -allowed for _, high in ends):
        return "worse"
    return "better" if all(low > 0 for low, _ in ends) else "no difference shown"


def _gain(score: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of the difference, turned so that above 0 is better."""
    low, high = score["difference_low"], score["difference_high"]
    if low is None or high is None:
        return None
    return (low, high) if score["higher_is_better"] else (-high, -low)


def _shown(dimension: str, scores: Sequence[Mapping[str, Any]]) -> str:
    def one(score: Mapping[str, Any]) -> str:
        if score["difference_low"] is None:
            return f"{score['name']} {score['note'] or 'has no interval'}"
        ends = f"[{score['difference_low']:+.4g}, {score['difference_high']:+.4g}]"
        return f"{score['name']} {score['difference']:+.4g} {ends}"

    return ", ".join(one(score) for score in scores)
