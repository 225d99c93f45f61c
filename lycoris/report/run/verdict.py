"""The verdict on a concept in three sentences: what learned it, what it costs, what to take and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lycoris.analysis.decisions.champion_selection import beats_base, unconvinced
from lycoris.analysis.text.formatting import adapter_label, counted, format_interval, format_number, join_names
from lycoris.metrics.score import ScoreRecord
from lycoris.report.run.schema import AdapterRecord, ConceptRecord, StudyRecord
from lycoris.report.run.scores import (
    ReportedMeasure,
    ScoreEffect,
    headline_measures,
    intervals_overlap,
    is_gain,
    reported_measures,
    score_effect,
    score_verdict,
)
from lycoris.terms import WORSE_MEANS

FEW_IMAGES = 5
"""With fewer training images a verdict says that it knows little."""
FEW_GENERATED = 8
"""With fewer generated images of one prompt type a verdict says that it knows little."""
NORMAL_COST = (
    "Some loss of control is normal when a concept is learned: the adapter puts it into images whether the prompt asks "
    "for it or not."
)

Outcome = Literal["learned", "not learned", "not scored"]


@dataclass(frozen=True)
class ConceptVerdict:
    """The verdict on one concept.

    Attributes:
        concept: its name.
        outcome: whether an adapter beats the base in fidelity in every encoder, outside its interval and by enough to
            matter.
        sentences: the verdict.
        cautions: why it is less certain than its intervals; empty where nothing is known.
        adapter: the name of the adapter to take, or of the best mean so far where none learned; None without a choice.
        file: its file.
        trigger: the word that calls the concept.
        prompt: a prompt to try.
    """

    concept: str
    outcome: Outcome
    sentences: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    adapter: str | None = None
    file: str | None = None
    trigger: str | None = None
    prompt: str | None = None


def study_verdicts(study: StudyRecord) -> list[ConceptVerdict]:
    """The verdict on every concept of a study with a finished adapter."""
    measures = reported_measures(study)
    adapters = [adapter for adapter in study.get("adapters") or [] if not adapter.get("error")]
    concepts = {str(concept.get("name")): concept for concept in study.get("concepts") or []}
    names = dict.fromkeys(str(adapter.get("concept")) for adapter in adapters)
    return [
        concept_verdict(
            concepts.get(name) or ConceptRecord(name=name),
            [adapter for adapter in adapters if str(adapter.get("concept")) == name],
            measures,
        )
        for name in names
    ]


def has_learned(adapter: AdapterRecord) -> bool:
    """Whether an adapter's images resemble the concept's more than the base's do, outside the interval."""
    return beats_base(score_rows(adapter))


def score_rows(adapter: AdapterRecord) -> list[ScoreRecord]:
    """The scores of an adapter, each with its name."""
    return [{**score, "name": name} for name, score in (adapter.get("scores") or {}).items()]


def concept_verdict(
    concept: ConceptRecord, adapters: Sequence[AdapterRecord], measures: Sequence[ReportedMeasure]
) -> ConceptVerdict:
    """The verdict on one concept.

    Args:
        concept: its record.
        adapters: its finished adapters; the one with ``champion`` is the choice.
        measures: of :func:`lycoris.report.run.scores.reported_measures`.
    """
    name, trigger = str(concept.get("name")), concept.get("trigger")
    present = {score for adapter in adapters for score in adapter.get("scores") or {}}
    headlines = headline_measures(measures, present)
    chosen = next((adapter for adapter in adapters if adapter.get("champion")), None)
    learned = [adapter for adapter in adapters if has_learned(adapter)]
    comparison = _Comparison(name, adapters, learned, headlines)
    noun = concept.get("class_noun")
    outcome: Outcome = "learned" if learned else "not learned"
    if "fidelity" not in headlines:
        outcome = "not scored"
        sentences: tuple[str, ...] = (f"No adapter was scored in fidelity, so nothing is known about {name}.",)
    elif learned:
        sentences = comparison.learned(chosen if chosen in learned else None)
    else:
        sentences = comparison.nothing_learned(chosen)
    return ConceptVerdict(
        name,
        outcome,
        sentences,
        _cautions(adapters) if "fidelity" in headlines else (),
        adapter=None if chosen is None else chosen.get("name"),
        file=None if chosen is None else chosen.get("file"),
        trigger=trigger,
        prompt=f"a {trigger} {noun or ''}".strip() if trigger else None,
    )


@dataclass(frozen=True)
class _Comparison:
    """The finished adapters of a concept, those that learned it, and the measure that stands for each dimension."""

    concept: str
    adapters: Sequence[AdapterRecord]
    winners: Sequence[AdapterRecord]
    headlines: Mapping[str, ReportedMeasure]

    def learned(self, chosen: AdapterRecord | None) -> tuple[str, ...]:
        """What learned the concept, what it costs, and what to take; the last two only with a choice."""
        if chosen is None:
            names = join_names(self._label(adapter) for adapter in self.winners)
            return (f"{names} learned {self.concept}: closer to the training images than the base, beyond chance.",)
        count = len(self.winners) - 1
        rest = len(self.adapters) - 1
        others = [self._label(adapter) for adapter in self.winners if adapter is not chosen]
        share = "every other adapter" if count == rest > 1 else _few(others)
        also = f" So did {share}." if count else ""
        return (
            f"{self._label(chosen)} learned {self.concept}: its images are closer to the training images than the "
            f"base's are, by {self._effect(chosen, 'fidelity')} in fidelity.{also}",
            self._cost(chosen),
            self._certainty(chosen),
        )

    def nothing_learned(self, chosen: AdapterRecord | None) -> tuple[str, ...]:
        """That nothing learned the concept, what comes closest, and what to try."""
        best = chosen or max(self.adapters, key=self._gain)
        steps = ((best.get("settings") or {}).get("training") or {}).get("steps")
        length = f" (it was `steps={steps}`)" if steps else ""
        if len(self.adapters) == 1:
            choice = f"{self._label(best)} is the only adapter"
        elif chosen is None:
            choice = f"{self._label(best)} comes first in fidelity"
        else:
            choice = f"{self._label(best)} has the best mean over all dimensions so far"
        return (
            f"Nothing learned {self.concept} enough yet. An adapter counts as having learned when every encoder (a "
            "network that compares images) finds its images closer to the training images than the base's, by more "
            "than chance could explain and by enough to matter. No adapter here does.",
            f"{choice}; {self._standing(best)}.",
            f"Train longer{length}, give more images of the concept, or check its captions; then run again.",
        )

    def _gain(self, adapter: AdapterRecord) -> float:
        """The difference to the base in fidelity, above 0 where it is better; minus infinity without a score."""
        measure = self.headlines["fidelity"]
        value = self._score_effect(adapter, measure).value
        if value is None:
            return -math.inf
        return -value if measure.higher_is_better is False else value

    def _standing(self, adapter: AdapterRecord) -> str:
        """On which side of the base an adapter that did not learn is in fidelity, and what that shows."""
        measure = self.headlines["fidelity"]
        score = (adapter.get("scores") or {}).get(measure.name) or {}
        effect = self._score_effect(adapter, measure)
        if effect.value is None:
            return "it has no score in fidelity"
        side = "level with" if effect.value == 0 else "above" if is_gain(effect, measure) else "below"
        encoders = [name.rpartition("/")[2] for name in unconvinced(score_rows(adapter))]
        shows = {
            "better": f"that is shown, but not with every encoder: not with {join_names(encoders)}",
            "worse": "its images are less like the training images than the base's are",
            "small": "a difference that small does not matter",
            "none": "an interval that includes 0 shows nothing",
            "unknown": "without an interval that shows nothing",
        }[score_verdict(score, measure)]
        return f"its fidelity is {side} the base's, {self._effect(adapter, 'fidelity')}: {shows}"

    def _cost(self, chosen: AdapterRecord) -> str:
        losses = []
        for dimension, measure in self.headlines.items():
            score = (chosen.get("scores") or {}).get(measure.name)
            if dimension != "fidelity" and score and score_verdict(score, measure) == "worse":
                losses.append(
                    f"{WORSE_MEANS.get(dimension, dimension)} ({dimension} {self._effect(chosen, dimension)})"
                )
        if not losses:
            return "It costs nothing that these scores can show: in no other dimension is it worse than the base."
        return f"What it costs: {join_names(losses)}. {NORMAL_COST}"

    def _certainty(self, chosen: AdapterRecord) -> str:
        """What to take, and whether the choice leads in fidelity, by more than chance."""
        others = [adapter for adapter in self.adapters if adapter is not chosen]
        take = f"Take {self._label(chosen)}"
        if not others:
            return f"{take}: the only adapter, so it was compared with the base alone."
        if len(self.winners) == 1:
            take = f"{take}: the only adapter that learned it."
        elif len(self.winners) < len(self.adapters):
            take = f"{take}: of those that learned it, the best mean over all dimensions."
        else:
            take = f"{take}: the best mean over all dimensions."
        return f"{take} {self._fidelity_order(chosen, others)}".rstrip()

    def _fidelity_order(self, chosen: AdapterRecord, others: Sequence[AdapterRecord]) -> str:
        """Which adapter leads in fidelity, and whether by more than chance; empty where no other has a score."""
        measure = self.headlines["fidelity"]
        own = self._score_effect(chosen, measure)
        effects = [(one, effect) for one in others if (effect := self._score_effect(one, measure)).value is not None]
        if not effects or own.value is None:
            return ""
        close = [adapter for adapter, effect in effects if intervals_overlap(own, effect)]
        ahead = [pair for pair in effects if self._gain(pair[0]) > self._gain(chosen)]
        beaten_by = [pair for pair in ahead if pair[0] not in close]
        if ahead:
            leader, lead = max(beaten_by or ahead, key=lambda pair: self._gain(pair[0]))
            number = format_number(lead.value, measure.digits, signed=True)
            if leader not in self.winners:
                return (
                    f"{self._label(leader)} has the higher fidelity ({number}), but does not beat the base in every "
                    "encoder."
                )
            if beaten_by:
                return (
                    f"If only likeness counts, take {self._label(leader)} instead: its fidelity is higher ({number}), "
                    "by more than chance."
                )
            return (
                f"{self._label(leader)} has the higher fidelity ({number}), but that may be chance: another seed may "
                "turn the order."
            )
        if close:
            return (
                f"It leads in fidelity as well, but the lead over {_few([self._label(one) for one in close])} may be "
                "chance: another seed may turn the order."
            )
        return "In fidelity it is ahead of every other adapter, by more than chance."

    def _label(self, adapter: AdapterRecord) -> str:
        return adapter_label(
            adapter,
            with_seed=len({one.get("seed") for one in self.adapters}) > 1,
            with_captions=len({one.get("captions") for one in self.adapters}) > 1,
        )

    def _score_effect(self, adapter: AdapterRecord, measure: ReportedMeasure) -> ScoreEffect:
        return score_effect((adapter.get("scores") or {}).get(measure.name) or {}, measure)

    def _effect(self, adapter: AdapterRecord, dimension: str) -> str:
        measure = self.headlines[dimension]
        effect = self._score_effect(adapter, measure)
        number = format_number(effect.value, measure.digits, signed=not measure.from_base)
        return f"{number} {format_interval(effect.low, effect.high, measure.digits)}".rstrip()


def _few(names: Sequence[str]) -> str:
    """The first two names, and how many more there are."""
    return join_names([*names[:2], *([f"{len(names) - 2} more"] if len(names) > 2 else [])])


def _cautions(adapters: Sequence[AdapterRecord]) -> tuple[str, ...]:
    """Why a verdict is less certain than its intervals: few training images, or few generated ones."""
    cautions = []
    trained = [count for adapter in adapters if (count := adapter.get("pictures")) is not None]
    if trained and min(trained) < FEW_IMAGES:
        cautions.append(
            f"trained on {counted(min(trained), 'image')}, which the scores compare with as well: use five to twenty"
        )
    generated = [
        len(images)
        for adapter in adapters
        for prompt_type, images in (adapter.get("drawings") or {}).items()
        if prompt_type == "trigger"
    ]
    if generated and min(generated) < FEW_GENERATED:
        cautions.append(
            f"scored on {counted(min(generated), 'generated image')} of the trigger: `images.trigger=10` or more"
        )
    return tuple(cautions)
