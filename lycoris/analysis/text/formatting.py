"""Numbers and findings in words."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lycoris.analysis.statistics.score_verdicts import (
    ScoreSpec,
    Verdict,
    intervals_overlap,
    score_effect,
    score_verdict,
)


@functools.cache
def algorithm_titles() -> dict[str, str]:
    """Name → title as its paper writes it, in the order of `lycoris.adapters.ALGORITHMS`."""
    from lycoris.adapters import ALGORITHMS

    return {name: algorithm.title for name, algorithm in ALGORITHMS.items()}


def format_number(value: float | None, digits: int | None, *, signed: bool = False) -> str:
    """A number as the report prints it: no leading zero, a true minus sign, a dash for none."""
    if value is None:
        return "–"
    text = f"{abs(value):.1e}" if digits is None else f"{abs(value):.{digits}f}"
    if value == 0.0:
        return "0"
    sign = "" if float(text) == 0.0 else "−" if value < 0 else "+" if signed else ""
    return sign + (text.removeprefix("0") if text.startswith("0.") else text)


def format_interval(low: float | None, high: float | None, digits: int | None) -> str:
    """``[low, high]``, or nothing when there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{format_number(low, digits)}, {format_number(high, digits)}]"


def format_duration(seconds: float) -> str:
    """A wall-clock time for people, to the second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


def algorithm_title(algorithm: str) -> str:
    """The name of an algorithm as its paper writes it."""
    return algorithm_titles().get(algorithm, algorithm)


def adapter_label(adapter: Mapping[str, Any], *, with_seed: bool) -> str:
    """What tells an adapter from the others of its concept: algorithm, captions and, if several, seed, checkpoint."""
    text = algorithm_title(str(adapter.get("algorithm", "?")))
    if adapter.get("captions"):
        text += f" with `{adapter['captions']}`"
    if with_seed:
        text += f", seed {adapter.get('seed')}"
    return f"{text}, {adapter['checkpoint']}" if adapter.get("checkpoint") else text


@dataclass(frozen=True)
class ScoreSummary:
    """A sentence about one dimension of one concept, in parts so that the page can colour the number.

    ``run_id`` is the tracked run that the number is of.
    """

    lead: str
    number: str
    interval: str
    tail: str
    verdict: Verdict
    run_id: str | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.lead, self.number, self.interval, self.tail) if part)


def summarize_score(
    measure: ScoreSpec, concept: str, adapters: Sequence[Mapping[str, Any]], *, with_seed: bool
) -> ScoreSummary | None:
    """Who leads one score, by how much against the base, and whether the lead over the others is shown.

    Two adapters whose intervals overlap are said to be not separated.

    Args:
        measure: the score.
        concept: the concept's name.
        adapters: the concept's adapters; those without this score are left out.
        seeds: whether an adapter's seed is part of its name.

    Returns:
        The sentence; None when no adapter has the score with a difference, or its direction is not known.
    """
    up = measure.higher_is_better
    if up is None:
        return None
    field = [
        (adapter, did, score_verdict(score, measure))
        for adapter in adapters
        if (score := (adapter.get("scores") or {}).get(measure.name))
        and (did := score_effect(score, measure)).value is not None
    ]
    if not field:
        return None
    field.sort(key=lambda entry: entry[1].value or 0.0, reverse=up)
    best, did, said = field[0]
    near = [
        adapter_label(adapter, with_seed=with_seed) for adapter, other, _ in field[1:] if intervals_overlap(did, other)
    ]
    who = adapter_label(best, with_seed=with_seed)
    lead = {
        "better": f"{who} leads for {concept}:",
        "none": f"No adapter beats the base for {concept}; the best, {who}, shows no difference:",
        "worse": f"Every adapter falls behind the base for {concept}; {who} loses least:",
        "unknown": f"{who} stays closest to the base for {concept}:"
        if measure.from_base
        else f"{who} has the best value for {concept}:",
    }[said]
    against = "" if measure.from_base else "against the base, "
    if not near:
        rest = "ahead of every other" if len(field) > 1 else "the only one scored"
    else:
        more = len(near) - 2
        named = near[:2] + ([f"{more} more"] if more > 0 else [])
        rest = "not separated from " + (", ".join(named[:-1]) + " and " if named[1:] else "") + named[-1]
    return ScoreSummary(
        lead,
        format_number(did.value, measure.digits, signed=not measure.from_base),
        format_interval(did.low, did.high, measure.digits) + ("," if measure.from_base else ""),
        f"{against}{rest}.",
        said,
        best.get("run_id"),
    )
