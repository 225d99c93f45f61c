"""A recommendation in plain words, five lines at most."""

from __future__ import annotations

from lycoris.analysis.decisions.recommendation import RankedSetting, Recommendation
from lycoris.analysis.statistics.setting_scores import MeanWithInterval
from lycoris.analysis.text.formatting import counted, format_interval, format_number, join_names
from lycoris.analysis.text.setting_labels import full_setting_label


def recommendation_lines(recommendation: Recommendation, *, length_unit: str) -> list[str]:
    """What to take, its ranks, the runner-up, what differs between the two, and what else may be chosen.

    Where nothing learned, the first line says so instead; a single setting has nothing to be compared with.

    Args:
        recommendation: what to print.
        length_unit: the unit of ``epoch``: ``"epochs"`` or ``"steps"``.
    """
    if len(recommendation.options) == 1:
        return [_only_line(recommendation, length_unit), *_notes(recommendation)]
    return [
        _choice_line(recommendation, length_unit),
        _rank_line(recommendation),
        _runner_up_line(recommendation),
        *_difference_lines(recommendation),
        _front_line(recommendation),
    ]


def format_file_size(count: int) -> str:
    """A number of bytes in MB or kB."""
    return f"{count / 1e6:.3g} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def _only_line(recommendation: Recommendation, length_unit: str) -> str:
    label = full_setting_label(recommendation.choice.settings, length_unit)
    learned = (
        "" if recommendation.has_learned else " It has not learned enough yet: it does not beat the base in fidelity."
    )
    return f"There is nothing to compare: {label} is the only setting.{learned}"


def _choice_line(recommendation: Recommendation, length_unit: str) -> str:
    choice = recommendation.choice
    weighted = {name: weight for name, weight in recommendation.weights.items() if weight != 1}
    weights = ", weighted " + ", ".join(f"{name} {weight:g}" for name, weight in weighted.items()) if weighted else ""
    label = f"{full_setting_label(choice.settings, length_unit)}{_size(choice)}"
    start = (
        f"Take {label}: the best mean rank, "
        if recommendation.has_learned
        else "Nothing learned enough yet: no setting beats the base in fidelity, outside its interval and by enough to "
        f"matter. Train longer, or give more images. The best so far is {label}: mean rank "
    )
    compared = counted(len(recommendation.eligible), "setting")
    return (
        f"{start}{_format_rank(choice.rank)} over {', '.join(recommendation.weights)}{weights}; "
        f"{compared} compared on {counted(choice.units, recommendation.unit)}."
    )


def _rank_line(recommendation: Recommendation) -> str:
    parts = [f"{name} {_format_rank(rank)}" for name, rank in recommendation.choice.ranks.items()]
    return (
        f"Its ranks: {', '.join(parts)}. A rank is 1 for the best of all adapters of a concept and 0 for the worst; "
        "brackets are 95 % intervals."
    )


def _runner_up_line(recommendation: Recommendation) -> str:
    runner_up, difference = recommendation.runner_up, recommendation.difference
    if runner_up is None or difference is None:
        return "There is no runner-up: only one setting is eligible."
    separation = {
        True: "the interval excludes 0, so the two are separated",
        False: "the interval includes 0, so the two are not separated and the order may be chance",
        None: f"this may be chance: an interval needs two {recommendation.unit}s",
    }[recommendation.is_separated]
    return (
        f"Next is {runner_up.name}{_size(runner_up)} with {_format_rank(runner_up.rank)}; "
        f"the difference is {_format_rank(difference, signed=True)}: {separation}."
    )


def _difference_lines(recommendation: Recommendation) -> list[str]:
    """What the choice is better and worse in than the runner-up, and in what no difference is shown."""
    if recommendation.runner_up is None:
        return []
    shown, rest = [], []
    for name, difference in recommendation.differences.items():
        low, high = difference["low"], difference["high"]
        if low is not None and high is not None and (low > 0 or high < 0):
            shown.append(f"{'more' if low > 0 else 'less'} {name} {_format_rank(difference, signed=True)}")
        else:
            rest.append(name)
    parts = [f"it has {join_names(shown)}"] if shown else []
    parts += [f"no difference is shown in {join_names(rest)}"] if rest else []
    return [f"Beside {recommendation.runner_up.name}, {'; '.join(parts)}."]


def _front_line(recommendation: Recommendation) -> str:
    eligible = recommendation.eligible
    best = []
    for name in recommendation.weights:
        setting = max(eligible, key=lambda one: one.ranks[name]["mean"] or 0.0)
        best.append(f"{name} {setting.name} ({format_number(setting.ranks[name]['mean'], 2)})")
    start = (
        f"Best in one dimension: {', '.join(best)}; {len(recommendation.front)} of {counted(len(eligible), 'setting')} "
        "are beaten in every dimension by no other (the Pareto front)."
    )
    return " ".join([start, *_notes(recommendation)])


def _notes(recommendation: Recommendation) -> list[str]:
    notes = [f"no score in {', '.join(recommendation.missing)}"] if recommendation.missing else []
    return [f"{note[0].upper()}{note[1:]}." for note in [*notes, *recommendation.notes]]


def _size(setting: RankedSetting) -> str:
    return "" if setting.bytes is None else f" ({format_file_size(setting.bytes)})"


def _format_rank(rank: MeanWithInterval, signed: bool = False) -> str:
    return f"{format_number(rank['mean'], 2, signed=signed)} {format_interval(rank['low'], rank['high'], 2)}".rstrip()
