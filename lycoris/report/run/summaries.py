"""Scores in words: who leads a measure for a concept, and whether the lead is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lycoris.analysis.text.formatting import adapter_label, format_interval, format_number, join_names
from lycoris.report.run.schema import AdapterRecord
from lycoris.report.run.scores import (
    ReportedMeasure,
    ScoreEffect,
    intervals_overlap,
    is_gain,
    score_effect,
    score_verdict,
)
from lycoris.terms import Verdict


@dataclass(frozen=True)
class ScoreSummary:
    """A sentence about one measure of one concept, in parts so that a page can color the number.

    Attributes:
        lead: who leads.
        number: by how much.
        interval: of the number.
        tail: which adapters it is not separated from.
        verdict: what the number shows against the base.
        run_id: the tracked run of the number.
    """

    lead: str
    number: str
    interval: str
    tail: str
    verdict: Verdict
    run_id: str | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.lead, self.number, self.interval, self.tail) if part)


def summarize_scores(
    measure: ReportedMeasure,
    concept: str,
    adapters: Sequence[AdapterRecord],
    *,
    with_seed: bool,
    with_captions: bool = True,
) -> ScoreSummary | None:
    """Who leads a measure, by how much against the base, and whether the lead over the others is shown.

    Adapters whose intervals overlap are called not separated. Where some beat the base, the best of those is named,
    also if another differs by more without showing it.

    Args:
        measure: the measure.
        concept: the concept's name.
        adapters: the concept's adapters; those without this score are left out.
        with_seed: whether an adapter's seed is part of its name.
        with_captions: the same for its caption strategy.

    Returns:
        The sentence; None when no adapter has the score with a difference, or its direction is not known.
    """
    if measure.higher_is_better is None:
        return None
    scored = [
        (adapter, effect, score_verdict(score, measure))
        for adapter in adapters
        if (score := (adapter.get("scores") or {}).get(measure.name))
        and (effect := score_effect(score, measure)).value is not None
    ]
    if not scored:
        return None
    scored.sort(key=lambda entry: entry[1].value or 0.0, reverse=measure.higher_is_better)
    shown = [entry for entry in scored if entry[2] == "better"]
    best, effect, verdict = leader = (shown or scored)[0]
    names = {id(one): adapter_label(one, with_seed=with_seed, with_captions=with_captions) for one, _, _ in scored}
    overlapping = [
        names[id(adapter)] for adapter, other, _ in scored if adapter is not best and intervals_overlap(effect, other)
    ]
    separation = _separation(overlapping, len(scored))
    tail = ", ".join(part for part in (_against(measure, effect, verdict), separation) if part) + "."
    if scored[0] is not leader:
        larger, other, _ = scored[0]
        number = format_number(other.value, measure.digits, signed=True)
        larger_note = f"{names[id(larger)]} differs by more ({number}), but that may be chance."
        tail = f"{_against(measure, effect, verdict)}. {larger_note}"
    return ScoreSummary(
        _lead(names[id(best)], concept, measure, effect, [one[2] for one in scored]),
        format_number(effect.value, measure.digits, signed=not measure.from_base),
        format_interval(effect.low, effect.high, measure.digits),
        tail,
        verdict,
        best.get("run_id"),
    )


def _lead(name: str, concept: str, measure: ReportedMeasure, effect: ScoreEffect, verdicts: Sequence[Verdict]) -> str:
    """Who leads; an adapter beats the base exactly where the verdict on one is "better".

    Args:
        name: the adapter whose number follows: the first of those that beat the base, else the first of all.
        concept: the concept's name.
        measure: the measure.
        effect: of that adapter.
        verdicts: on each scored adapter, the largest gain first.
    """
    if measure.from_base:
        if len(verdicts) == 1:
            return f"{name} for {concept} (0 is the base unchanged, more is a larger change):"
        return f"{name} stays closest to the base for {concept} (0 is the base unchanged):"
    if "better" in verdicts:
        return f"{name} {'leads' if verdicts[0] == 'better' else 'beats the base'} for {concept}:"
    if set(verdicts) == {"worse"}:
        if len(verdicts) == 1:
            return f"{name} is worse than the base for {concept}:"
        return f"Every adapter is worse than the base for {concept}; {name} loses least:"
    if not is_gain(effect, measure):
        if len(verdicts) == 1:
            return f"{name} does not beat the base for {concept}:"
        return f"No adapter beats the base for {concept}; the closest to it is {name}:"
    if verdicts[0] == "unknown":
        return f"{name} has the best value for {concept}:"
    enough = " enough to matter" if verdicts[0] == "small" else ""
    if len(verdicts) == 1:
        return f"{name} does not beat the base{enough} for {concept}:"
    return f"No adapter beats the base{enough} for {concept}; the best is {name}:"


def _against(measure: ReportedMeasure, effect: ScoreEffect, verdict: Verdict) -> str:
    """What the number is compared with; where lower is better, which side of the base it is on, in words."""
    if measure.from_base:
        return "from the base's images" if effect.low is not None else "from the base's images, without an interval"
    notes = []
    if measure.higher_is_better is False and effect.value:
        notes.append(f"lower is better, so {'better' if is_gain(effect, measure) else 'worse'}")
    if effect.low is None:
        notes.append("without an interval this may be chance")
    elif notes and verdict == "none":
        notes.append("its interval includes 0, so this may be chance")
    return "against the base" + (f" ({'; '.join(notes)})" if notes else "")


def _separation(overlapping: Sequence[str], count: int) -> str:
    if not overlapping:
        return "ahead of every other" if count > 1 else ""
    named = list(overlapping[:2]) + ([f"{len(overlapping) - 2} more"] if len(overlapping) > 2 else [])
    return "not separated from " + join_names(named)
