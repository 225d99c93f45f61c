"""A recommendation in five lines."""

from __future__ import annotations

from collections.abc import Mapping

from lycoris.analysis.decisions.recommendation import Option, Recommendation
from lycoris.analysis.text.formatting import interval, number
from lycoris.analysis.text.setting_labels import whole

Numbers = Mapping[str, float | None]


def lines(found: Recommendation, *, length_unit: str) -> list[str]:
    """The choice; where it stands; its runner-up; what decides between the two; the front, and what is not known.

    Args:
        found: the recommendation.
        length_unit: what ``epoch`` counts: ``"epochs"`` or ``"steps"``.
    """
    return [_choice(found, length_unit), _stands(found), _runner_up(found), _why(found), _front(found)]


def megabytes(count: int) -> str:
    """A file's size for people."""
    return f"{count / 1e6:.3g} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def _choice(found: Recommendation, length_unit: str) -> str:
    one = found.choice
    size = "" if one.bytes is None else f" ({megabytes(one.bytes)})"
    weighted = {name: weight for name, weight in found.weights.items() if weight != 1}
    how = "" if not weighted else ", weighted " + ", ".join(f"{name} {weight:g}" for name, weight in weighted.items())
    inside = sum(not each.left_out for each in found.options)
    return (
        f"Take {whole(one.settings, length_unit)}{size}: mean scaled rank {_shown(one.rank)} over "
        f"{', '.join(found.weights)}{how}; {inside} {'setting' if inside == 1 else 'settings'} compared on "
        f"{one.units} {found.unit}{'' if one.units == 1 else 's'}."
    )


def _stands(found: Recommendation) -> str:
    parts = [f"{name} {_shown(rank)}" for name, rank in found.choice.ranks.items()]
    return f"It stands at {', '.join(parts)} (1 is the best of every adapter of a concept, 0 the worst)."


def _runner_up(found: Recommendation) -> str:
    other = found.runner_up
    if other is None:
        return "There is no runner-up: one setting is left to choose from."
    told = {
        True: "the two are told apart",
        False: "the two cannot be told apart",
        None: f"nothing says whether that is chance: an interval needs two {found.unit}s",
    }[found.told_apart]
    size = "" if other.bytes is None else f" ({megabytes(other.bytes)})"
    return (
        f"Runner-up: {other.name}{size} with {_shown(other.rank)}; difference {_shown(found.difference, True)}: {told}."
    )


def _why(found: Recommendation) -> str:
    if found.runner_up is None:
        return "Why: nothing else was left to compare it with."
    shown, rest = [], []
    for name, gap in found.differences.items():
        low, high = gap["low"], gap["high"]
        if low is not None and high is not None and (low > 0 or high < 0):
            shown.append(f"{'more' if low > 0 else 'less'} {name} {_shown(gap, True)}")
        else:
            rest.append(f"{name} {number(gap['mean'], 2, signed=True)}")
    parts = ([", ".join(shown)] if shown else []) + ([f"not shown: {', '.join(rest)}"] if rest else [])
    return f"Why: against the runner-up {'; '.join(parts)}."


def _front(found: Recommendation) -> str:
    inside = [each for each in found.options if not each.left_out]
    best = [f"{name} {_best(inside, name).name} ({number(_best(inside, name).ranks[name]['mean'], 2)})"
            for name in found.weights]  # fmt: skip
    parts = [f"Pareto front: {len(found.front)} of {len(inside)}; most {'; most '.join(best)}"]
    if found.missing:
        parts.append(f"No score in {', '.join(found.missing)}")
    return ". ".join([*parts, *(note[0].upper() + note[1:] for note in found.notes)]) + "."


def _best(options: list[Option], dimension: str) -> Option:
    return max(options, key=lambda one: one.ranks[dimension]["mean"] or 0.0)


def _shown(rank: Numbers, signed: bool = False) -> str:
    return f"{number(rank['mean'], 2, signed=signed)} {interval(rank['low'], rank['high'], 2)}".rstrip()
