"""A recommendation in five lines."""

from __future__ import annotations

from lycoris.analysis.decisions.recommendation import RankedSetting, Recommendation
from lycoris.analysis.statistics.setting_scores import MeanWithInterval
from lycoris.analysis.text.formatting import format_interval, format_number
from lycoris.analysis.text.setting_labels import full_setting_label


def recommendation_lines(recommendation: Recommendation, *, length_unit: str) -> list[str]:
    """The choice, its ranks, the runner-up, the difference between the two, and the front with what is unknown.

    Args:
        recommendation: what to print.
        length_unit: the unit of ``epoch``: ``"epochs"`` or ``"steps"``.
    """
    return [
        _choice_line(recommendation, length_unit),
        _rank_line(recommendation),
        _runner_up_line(recommendation),
        _difference_line(recommendation),
        _front_line(recommendation),
    ]


def format_file_size(count: int) -> str:
    """A number of bytes in MB or kB."""
    return f"{count / 1e6:.3g} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def _choice_line(recommendation: Recommendation, length_unit: str) -> str:
    choice = recommendation.choice
    weighted = {name: weight for name, weight in recommendation.weights.items() if weight != 1}
    weights = ", weighted " + ", ".join(f"{name} {weight:g}" for name, weight in weighted.items()) if weighted else ""
    compared = _counted(len(recommendation.eligible), "setting")
    return (
        f"Take {full_setting_label(choice.settings, length_unit)}{_size(choice)}: mean scaled rank "
        f"{_format_rank(choice.rank)} over {', '.join(recommendation.weights)}{weights}; "
        f"{compared} compared on {_counted(choice.units, recommendation.unit)}."
    )


def _rank_line(recommendation: Recommendation) -> str:
    parts = [f"{name} {_format_rank(rank)}" for name, rank in recommendation.choice.ranks.items()]
    return f"Its scaled ranks: {', '.join(parts)} (1 is the best of all adapters of a concept, 0 the worst)."


def _runner_up_line(recommendation: Recommendation) -> str:
    runner_up, difference = recommendation.runner_up, recommendation.difference
    if runner_up is None or difference is None:
        return "There is no runner-up: only one setting is eligible."
    separation = {
        True: "the two are separated",
        False: "the two are not separated",
        None: f"this may be chance: an interval needs two {recommendation.unit}s",
    }[recommendation.is_separated]
    return (
        f"Runner-up: {runner_up.name}{_size(runner_up)} with {_format_rank(runner_up.rank)}; "
        f"difference {_format_rank(difference, signed=True)}: {separation}."
    )


def _difference_line(recommendation: Recommendation) -> str:
    if recommendation.runner_up is None:
        return "Why: there is no other setting to compare it with."
    shown, rest = [], []
    for name, difference in recommendation.differences.items():
        low, high = difference["low"], difference["high"]
        if low is not None and high is not None and (low > 0 or high < 0):
            shown.append(f"{'more' if low > 0 else 'less'} {name} {_format_rank(difference, signed=True)}")
        else:
            rest.append(f"{name} {format_number(difference['mean'], 2, signed=True)}")
    parts = ([", ".join(shown)] if shown else []) + ([f"not shown: {', '.join(rest)}"] if rest else [])
    return f"Why: against the runner-up {'; '.join(parts)}."


def _front_line(recommendation: Recommendation) -> str:
    eligible = recommendation.eligible
    best = []
    for name in recommendation.weights:
        setting = max(eligible, key=lambda one: one.ranks[name]["mean"] or 0.0)
        best.append(f"most {name} {setting.name} ({format_number(setting.ranks[name]['mean'], 2)})")
    parts = [f"Pareto front: {len(recommendation.front)} of {len(eligible)}; {'; '.join(best)}"]
    if recommendation.missing:
        parts.append(f"No score in {', '.join(recommendation.missing)}")
    return ". ".join([*parts, *(note[0].upper() + note[1:] for note in recommendation.notes)]) + "."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _size(setting: RankedSetting) -> str:
    return "" if setting.bytes is None else f" ({format_file_size(setting.bytes)})"


def _format_rank(rank: MeanWithInterval, signed: bool = False) -> str:
    return f"{format_number(rank['mean'], 2, signed=signed)} {format_interval(rank['low'], rank['high'], 2)}".rstrip()
