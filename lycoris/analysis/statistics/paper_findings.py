"""The four findings of arXiv 2309.14859 on any table of scores: each holds, does not hold, or is not shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.category_effects import THIRD_FINDING
from lycoris.analysis.statistics.effects import asked_alike, by_group, comparisons
from lycoris.analysis.statistics.measures import ALL, COSTS, Measure
from lycoris.analysis.statistics.ranking import Ranking, over_groups
from lycoris.analysis.text.effect_text import named
from lycoris.analysis.text.formatting import interval, number

Verdict = Literal["holds", "does not hold", "not shown"]
CLAIMS = (
    "LoKr beats LoRA and LoHa on image similarity of new prompts, and is often worse elsewhere",
    "No algorithm leads on every metric",
    "`none` captions raise fidelity and lower controllability and preservation against `all`",
    "Native fine-tuning reaches the highest text alignment",
)
OFTEN = 0.25
"""The part of the other measures on which LoKr must be worse than LoRA or LoHa, for that to be often."""
RATE = 0.05
"""The false discovery rate at which one of many measures counts as shown."""
RULE = (
    "A finding holds where every interval (95 %, over concepts) lies on its side of 0, does not hold where one lies on "
    "the other side, and is not shown otherwise. Where measures are counted, one counts if also q is at most 0.05; "
    f"often is {OFTEN:.0%} of them."
)


@dataclass(frozen=True)
class Finding:
    """One finding, held against a table.

    Attributes:
        number: as in `CLAIMS`, from 1.
        claim: in a sentence.
        verdict: what the table says of it.
        evidence: what decided, in words and numbers; empty where the table has no such runs.
    """

    number: int
    claim: str
    verdict: Verdict
    evidence: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it in a line."""
        told = "; ".join(self.evidence) or "the table has no runs that could tell"
        return f"Finding {self.number} ({self.claim}): {self.verdict}. {told}."


def findings(ranking: Ranking, effects: pd.DataFrame) -> list[Finding]:
    """The four findings, each with a verdict by `RULE`.

    Args:
        ranking: of a table of scores.
        effects: of :func:`lycoris.analysis.statistics.effects.effects` for it.
    """
    told = (_first(ranking, effects), _second(effects), _third(ranking), _fourth(ranking))
    return [Finding(place, claim, *one) for place, (claim, one) in enumerate(zip(CLAIMS, told, strict=True), 1)]


Told = tuple[Verdict, tuple[str, ...]]


def _first(ranking: Ranking, effects: pd.DataFrame) -> Told:
    others = ("lora", "loha")
    wins = [
        _effect(ranking, "algorithm", "lokr", other, lambda one: _is(one, "image_similarity", "alter"))
        for other in others
    ]
    beats, said = _signs(
        wins, (1, 1), [f"image_similarity/alter of LoKr instead of {named('algorithm', o)}" for o in others]
    )
    own = _counted(effects, "lokr", others)
    own = own[(own["metric"] != "image_similarity") | (own["prompt_type"] != "alter")]
    if own.empty or not said:
        return "not shown", said
    by_measure = own.groupby(["metric", "prompt_type", "encoder"])
    worse = by_measure["worse"].any().mean()
    not_worse = by_measure["not_worse"].all().mean()
    elsewhere: Verdict = "holds" if worse >= OFTEN else "does not hold" if not_worse > 1 - OFTEN else "not shown"
    said += (
        f"elsewhere LoKr is shown to be worse than one of the two on {worse:.0%} of {by_measure.ngroups} measures",
    )
    return _together(beats, elsewhere), said


def _second(effects: pd.DataFrame) -> Told:
    names = sorted({str(name) for name in effects.loc[effects["factor"] == "algorithm", "level"]})
    if len(names) < 2:
        return "not shown", ()
    beaten, leading = {}, []
    for name in names:
        own = _counted(effects, name, [other for other in names if other != name])
        beaten[name] = int(own.groupby(["metric", "prompt_type", "encoder"])["worse"].any().sum())
        if len(own) and own["better"].all():
            leading.append(name)
    said = tuple(f"{named('algorithm', name)} is shown to be beaten on {count}" for name, count in beaten.items())
    verdict: Verdict = "does not hold" if leading else "holds" if all(beaten.values()) else "not shown"
    return verdict, (", ".join(said) + f" of {_measures(effects)} measures",)


def _third(ranking: Ranking) -> Told:
    gaps = [_effect(ranking, "captions", "none", "all", partial(_is_dimension, name)) for name in THIRD_FINDING]
    return _signs(gaps, tuple(THIRD_FINDING.values()), list(THIRD_FINDING))


def _fourth(ranking: Ranking) -> Told:
    others = [name for name in ranking.arms["algorithm"].drop_duplicates() if name != "full"]
    gaps = [_effect(ranking, "algorithm", "full", other, _is_text_similarity) for other in others]
    labels = [f"text_similarity of native instead of {named('algorithm', other)}" for other in others]
    return _signs(gaps, (1,) * len(gaps), labels)


def _is(one: Measure, metric: str, prompt_type: str) -> bool:
    return one.metric == metric and one.prompt_type == prompt_type


def _is_dimension(name: str, one: Measure) -> bool:
    return _is(one, name, ALL) and one.encoder == ALL


def _is_text_similarity(one: Measure) -> bool:
    """On any prompt that has the trigger."""
    return one.metric == "text_similarity" and one.prompt_type not in (ALL, "plain")


def _effect(
    ranking: Ranking, factor: str, level: str, against: str, wanted: Callable[[Measure], bool]
) -> dict[str, Any] | None:
    """The mean difference in scaled rank on the measures wanted, each weighing the same; None without such runs."""
    ranking = asked_alike(ranking, factor)
    places = [place for place, one in enumerate(ranking.measures) if wanted(one)]
    single = [place for place in places if ranking.measures[place].encoder != ALL]
    places = single or places
    for one in comparisons(ranking.arms, (factor,)) if places else ():
        if {one.level, one.against} == {level, against}:
            gaps = by_group(one.gaps(ranking))[:, places] * (1 if one.level == level else -1)
            return over_groups(_mean(gaps), least=-1.0)
    return None


def _mean(gaps: Float[np.ndarray, "groups measures"]) -> Float[np.ndarray, " groups"]:
    known = ~np.isnan(gaps)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, gaps, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _signs(gaps: list[dict[str, Any] | None], signs: tuple[int, ...], labels: list[str]) -> Told:
    """Whether every effect lies on its side, with what was found of each; one that is missing shows nothing."""
    said, verdicts = [], []
    for gap, sign, label in zip(gaps, signs, labels, strict=True):
        if gap is None:
            verdicts.append("not shown")
            continue
        low, high = gap["low"], gap["high"]
        said.append(f"{label} {number(gap['mean'], 2, signed=True)} {interval(low, high, 2)}".rstrip())
        if low is None:
            verdicts.append("not shown")
        else:
            least, most = sorted((sign * low, sign * high))
            verdicts.append("holds" if least > 0 else "does not hold" if most < 0 else "not shown")
    return _together(*verdicts) if verdicts else "not shown", tuple(said)


def _together(*verdicts: Any) -> Verdict:
    if "does not hold" in verdicts:
        return "does not hold"
    return "not shown" if "not shown" in verdicts else "holds"


def _single(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of algorithms on single measures: no means over encoders or metrics, and no costs."""
    return effects[(effects["factor"] == "algorithm") & (effects["encoder"] != ALL) & ~effects["metric"].isin(COSTS)]


def _measures(effects: pd.DataFrame) -> int:
    return len(_single(effects)[["metric", "prompt_type", "encoder"]].drop_duplicates())


def _counted(effects: pd.DataFrame, level: str, against: Any) -> pd.DataFrame:
    """Effects of one algorithm against some, with what is shown: ``better``, ``worse``, ``not_worse``."""
    own = _single(effects)
    own = own[(own["level"] == level) & own["against"].isin(list(against))]
    low, high, q = (own[name].astype(float) for name in ("low", "high", "q"))
    sure = q <= RATE
    return own.assign(better=sure & (low > 0), worse=sure & (high < 0), not_worse=low >= 0)
