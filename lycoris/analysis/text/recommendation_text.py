"""A recommendation in five lines."""

from __future__ import annotations

from collections.abc import Mapping

from lycoris.analysis.decisions.recommendation import RankedSetting, Recommendation
from lycoris.analysis.text.formatting import format_interval, format_number
from lycoris.analysis.text.setting_labels import full_setting_label

RankWithInterval = Mapping[str, float | None]


def recommendation_lines(recommendation: Recommendation, *, length_unit: str) -> list[str]:
    """The choice; where it stands; its runner-up; what decides between the two; the front, and what is not known.

    Args:
        found: the recommendation.
        length_unit: what ``epoch`` counts: ``"epochs"`` or ``"steps"``.
    """
    return [
        _choice_line(recommendation, length_unit),
        _rank_line(recommendation),
        _runner_up_line(recommendation),
        _difference_line(recommendation),
        _front_line(recommendation),
    ]


def format_file_size(count: int) -> str:
    """A file's size for people."""
    return f"{count / 1e6:.3g} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def _choice_line(recommendation: Recommendation, length_unit: str) -> str:
    one = recommendation.choice
    size = "" if one.bytes is None else f" ({format_file_size(one.bytes)})"
    weighted = {name: weight for name, weight in recommendation.weights.items() if weight != 1}
    how = "" if not weighted else ", weighted " + ", ".join(f"{name} {weight:g}" for name, weight in weighted.items())
    inside = sum(not each.left_out for each in recommendation.options)
    return (
        f"Take {full_setting_label(one.settings, length_unit)}{size}: mean scaled rank {_format_rank(one.rank)} over "
        f"{', '.join(recommendation.weights)}{how}; {inside} {'setting' if inside == 1 else 'settings'} compared on "
        f"{one.units} {recommendation.unit}{'' if one.units == 1 else 's'}."
    )


def _rank_line(recommendation: Recommendation) -> str:
    parts = [f"{name} {_format_rank(rank)}" for name, rank in recommendation.choice.ranks.items()]
    return f"It stands at {', '.join(parts)} (1 is the best of every adapter of a concept, 0 the worst)."


def _runner_up_line(recommendation: Recommendation) -> str:
    other = recommendation.runner_up
    if other is None:
        return "There is no runner-up: one setting is left to choose from."
    told = {
        True: "the two are told apart",
        False: "the two cannot be told apart",
        None: f"nothing says whether that is chance: an interval needs two {recommendation.unit}s",
    }[recommendation.is_separated]
    size = "" if other.bytes is None else f" ({format_file_size(other.bytes)})"
    return f"Runner-up: {other.name}{size} with {_format_rank(other.rank)}; difference {_format_rank(recommendation.difference, True)}: {told}."  # noqa: E501


def _difference_line(recommendation: Recommendation) -> str:
    if recommendation.runner_up is None:
        return "Why: nothing else was left to compare it with."
    shown, rest = [], []
    for name, gap in recommendation.differences.items():
        low, high = gap["low"], gap["high"]
        if low is not None and high is not None and (low > 0 or high < 0):
            shown.append(f"{'more' if low > 0 else 'less'} {name} {_format_rank(gap, True)}")
        else:
            rest.append(f"{name} {format_number(gap['mean'], 2, signed=True)}")
    parts = ([", ".join(shown)] if shown else []) + ([f"not shown: {', '.join(rest)}"] if rest else [])
    return f"Why: against the runner-up {'; '.join(parts)}."


def _front_line(recommendation: Recommendation) -> str:
    inside = [each for each in recommendation.options if not each.left_out]
    best = [f"{name} {_best_in_dimension(inside, name).name} ({format_number(_best_in_dimension(inside, name).ranks[name]['mean'], 2)})"  # noqa: E501
            for name in recommendation.weights]  # fmt: skip
    parts = [f"Pareto front: {len(recommendation.front)} of {len(inside)}; most {'; most '.join(best)}"]
    if recommendation.missing:
        parts.append(f"No score in {', '.join(recommendation.missing)}")
    return ". ".join([*parts, *(note[0].upper() + note[1:] for note in recommendation.notes)]) + "."


def _best_in_dimension(options: list[RankedSetting], dimension: str) -> RankedSetting:
    return max(options, key=lambda one: one.ranks[dimension]["mean"] or 0.0)


def _format_rank(rank: RankWithInterval, signed: bool = False) -> str:
    return f"{format_number(rank['mean'], 2, signed=signed)} {format_interval(rank['low'], rank['high'], 2)}".rstrip()
