"""A recommendation in plain words, five lines at most; of few settings only which is ahead in what."""

from __future__ import annotations

from lycoris.analysis.decisions.recommendation import RankedSetting, Recommendation
from lycoris.analysis.statistics.setting_scores import MeanWithInterval
from lycoris.analysis.text.formatting import counted, format_interval, format_number, join_names
from lycoris.analysis.text.setting_labels import full_setting_label

FEW_SETTINGS = 3
"""Of so few settings a rank says only which is ahead: it is 0, ½ or 1, and its interval says no more."""


def recommendation_lines(recommendation: Recommendation, *, length_unit: str) -> list[str]:
    """What to take, its ranks, the runner-up, what differs between the two, and what else may be chosen.

    Where nothing learned, the first line says so instead; a single setting has nothing to be compared with.

    Args:
        recommendation: what to print.
        length_unit: the unit of ``epoch``: ``"epochs"`` or ``"steps"``.
    """
    if len(recommendation.options) == 1:
        return [_only_line(recommendation, length_unit), *_notes(recommendation)]
    if len(recommendation.options) <= FEW_SETTINGS:
        return [
            _few_choice_line(recommendation, length_unit),
            _few_certainty_line(recommendation),
            *_notes(recommendation),
        ]
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
    start = f"{_start(recommendation, length_unit)}{': the best mean rank, ' if recommendation.has_learned else ', '}"
    compared = counted(len(recommendation.eligible), "setting")
    return (
        f"{start}{_format_rank(choice.rank)} over {', '.join(recommendation.weights)}{_weights(recommendation)}; "
        f"{compared} compared on {counted(choice.units, recommendation.unit)}."
    )


def _start(recommendation: Recommendation, length_unit: str) -> str:
    """What to take, or that nothing learned."""
    label = f"{full_setting_label(recommendation.choice.settings, length_unit)}{_size(recommendation.choice)}"
    if recommendation.has_learned:
        return f"Take {label}"
    return (
        "Nothing learned enough yet: no setting beats the base in fidelity, outside its interval and by enough to "
        f"matter. Train longer, or give more images. The best mean rank so far has {label}"
    )


def _weights(recommendation: Recommendation) -> str:
    weighted = {name: weight for name, weight in recommendation.weights.items() if weight != 1}
    return ", weighted " + ", ".join(f"{name} {weight:g}" for name, weight in weighted.items()) if weighted else ""


def _few_choice_line(recommendation: Recommendation, length_unit: str) -> str:
    """What to take, and which of the few settings is ahead in which dimension."""
    start = _start(recommendation, length_unit)
    choice, eligible = recommendation.choice, recommendation.eligible
    if len(eligible) == 1:
        return f"{start}: the only setting that is eligible."
    leads: dict[str, list[str]] = {}
    for dimension in recommendation.weights:
        means = {one.name: round(one.ranks[dimension]["mean"] or 0.0, 9) for one in eligible}
        leaders = [name for name, mean in means.items() if mean == max(means.values())]
        leads.setdefault("" if len(leaders) > 1 else leaders[0], []).append(dimension)
    parts = [f"it is ahead in {join_names(leads.pop(choice.name))}"] if choice.name in leads else []
    level = leads.pop("", [])
    parts += [f"{name} is ahead in {join_names(dimensions)}" for name, dimensions in leads.items()]
    parts += [f"none is ahead in {join_names(level)}"] if level else []
    over = "the best mean rank over" if recommendation.has_learned else "over"
    return (
        f"{start}, {over} {counted(len(recommendation.weights), 'dimension')}{_weights(recommendation)} of "
        f"{counted(len(eligible), 'setting')} on {counted(choice.units, recommendation.unit)}: {'; '.join(parts)}."
    )


def _few_certainty_line(recommendation: Recommendation) -> str:
    """How sure the order of the first two settings is."""
    runner_up = recommendation.runner_up
    if runner_up is None:
        return "There is no runner-up: only one setting is eligible."
    return (
        "How sure: "
        + {
            True: f"it is separated from {runner_up.name}, the next: the lead is larger than chance explains.",
            False: f"it is not separated from {runner_up.name}, the next: the order may be chance.",
            None: f"not known; the lead over {runner_up.name}, the next, may be chance, as an interval needs two "
            f"{recommendation.unit}s.",
        }[recommendation.is_separated]
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
