"""The four findings of arXiv 2309.14859 on any table of scores: each holds, does not hold, or is not shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.category_effects import THIRD_FINDING_SIGNS
from lycoris.analysis.statistics.effects import comparisons, mean_over_pairs, shared_prompts_only
from lycoris.analysis.statistics.measures import ALL_COMBINED, COSTS, Measure
from lycoris.analysis.statistics.ranking import Ranking, mean_over_groups
from lycoris.analysis.text.effect_text import level_label
from lycoris.analysis.text.formatting import format_interval, format_number

FindingVerdict = Literal["holds", "does not hold", "not shown"]
CLAIMS = (
    "LoKr beats LoRA and LoHa on image similarity of new prompts, and is often worse elsewhere",
    "No algorithm leads on every metric",
    "`none` captions raise fidelity and lower controllability and preservation against `all`",
    "Native fine-tuning reaches the highest text alignment",
)
OFTEN_FRACTION = 0.25
"""The part of the other measures on which LoKr must be worse than LoRA or LoHa, for that to be often."""
FALSE_DISCOVERY_RATE = 0.05
"""The false discovery rate at which one of many measures counts as shown."""
FINDINGS_RULE = (
    "A finding holds where every interval (95 %, over concepts) lies on its side of 0, does not hold where one lies on "
    "the other side, and is not shown otherwise. Where measures are counted, one counts if also q is at most 0.05; "
    f"often is {OFTEN_FRACTION:.0%} of them."
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
    verdict: FindingVerdict
    evidence: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it in a line."""
        told = "; ".join(self.evidence) or "the table has no runs that could tell"
        return f"Finding {self.number} ({self.claim}): {self.verdict}. {told}."


def evaluate_findings(ranking: Ranking, effects: pd.DataFrame) -> list[Finding]:
    """The four findings, each with a verdict by `RULE`.

    Args:
        ranking: of a table of scores.
        effects: of :func:`lycoris.analysis.statistics.effects.effects` for it.
    """
    told = (
        _first_finding(ranking, effects),
        _second_finding(effects),
        _third_finding(ranking),
        _fourth_finding(ranking),
    )
    return [Finding(place, claim, *one) for place, (claim, one) in enumerate(zip(CLAIMS, told, strict=True), 1)]


Assessment = tuple[FindingVerdict, tuple[str, ...]]


def _first_finding(ranking: Ranking, effects: pd.DataFrame) -> Assessment:
    others = ("lora", "loha")
    wins = [
        _mean_effect(ranking, "algorithm", "lokr", other, lambda one: _matches(one, "image_similarity", "alter"))
        for other in others
    ]
    beats, said = _check_signs(
        wins, (1, 1), [f"image_similarity/alter of LoKr instead of {level_label('algorithm', o)}" for o in others]
    )
    own = _effects_with_verdicts(effects, "lokr", others)
    own = own[(own["metric"] != "image_similarity") | (own["prompt_type"] != "alter")]
    if own.empty or not said:
        return "not shown", said
    by_measure = own.groupby(["metric", "prompt_type", "encoder"])
    worse = by_measure["worse"].any().mean()
    not_worse = by_measure["not_worse"].all().mean()
    elsewhere: FindingVerdict = (
        "holds" if worse >= OFTEN_FRACTION else "does not hold" if not_worse > 1 - OFTEN_FRACTION else "not shown"
    )
    said += (
        f"elsewhere LoKr is shown to be worse than one of the two on {worse:.0%} of {by_measure.ngroups} measures",
    )
    return _combine_verdicts(beats, elsewhere), said


def _second_finding(effects: pd.DataFrame) -> Assessment:
    names = sorted({str(name) for name in effects.loc[effects["factor"] == "algorithm", "level"]})
    if len(names) < 2:
        return "not shown", ()
    beaten, leading = {}, []
    for name in names:
        own = _effects_with_verdicts(effects, name, [other for other in names if other != name])
        beaten[name] = int(own.groupby(["metric", "prompt_type", "encoder"])["worse"].any().sum())
        if len(own) and own["better"].all():
            leading.append(name)
    said = tuple(f"{level_label('algorithm', name)} is shown to be beaten on {count}" for name, count in beaten.items())
    verdict: FindingVerdict = "does not hold" if leading else "holds" if all(beaten.values()) else "not shown"
    return verdict, (", ".join(said) + f" of {_measure_count(effects)} measures",)


def _third_finding(ranking: Ranking) -> Assessment:
    gaps = [
        _mean_effect(ranking, "captions", "none", "all", partial(_is_dimension, name)) for name in THIRD_FINDING_SIGNS
    ]
    return _check_signs(gaps, tuple(THIRD_FINDING_SIGNS.values()), list(THIRD_FINDING_SIGNS))


def _fourth_finding(ranking: Ranking) -> Assessment:
    others = [name for name in ranking.settings["algorithm"].drop_duplicates() if name != "full"]
    gaps = [_mean_effect(ranking, "algorithm", "full", other, _is_text_similarity) for other in others]
    labels = [f"text_similarity of native instead of {level_label('algorithm', other)}" for other in others]
    return _check_signs(gaps, (1,) * len(gaps), labels)


def _matches(one: Measure, metric: str, prompt_type: str) -> bool:
    return one.metric == metric and one.prompt_type == prompt_type


def _is_dimension(name: str, one: Measure) -> bool:
    return _matches(one, name, ALL_COMBINED) and one.encoder == ALL_COMBINED


def _is_text_similarity(one: Measure) -> bool:
    """On any prompt that has the trigger."""
    return one.metric == "text_similarity" and one.prompt_type not in (ALL_COMBINED, "plain")


def _mean_effect(
    ranking: Ranking, factor: str, level: str, against: str, is_included: Callable[[Measure], bool]
) -> dict[str, Any] | None:
    """The mean difference in scaled rank on the measures wanted, each weighing the same; None without such runs."""
    ranking = shared_prompts_only(ranking, factor)
    places = [place for place, one in enumerate(ranking.measures) if is_included(one)]
    single = [place for place in places if ranking.measures[place].encoder != ALL_COMBINED]
    places = single or places
    for one in comparisons(ranking.settings, (factor,)) if places else ():
        if {one.level, one.against} == {level, against}:
            gaps = mean_over_pairs(one.rank_differences(ranking))[:, places] * (1 if one.level == level else -1)
            return mean_over_groups(_row_means(gaps), minimum=-1.0)
    return None


def _row_means(gaps: Float[np.ndarray, "groups measures"]) -> Float[np.ndarray, " groups"]:
    known = ~np.isnan(gaps)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, gaps, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _check_signs(gaps: list[dict[str, Any] | None], signs: tuple[int, ...], labels: list[str]) -> Assessment:
    """Whether every effect lies on its side, with what was found of each; one that is missing shows nothing."""
    said, verdicts = [], []
    for gap, sign, label in zip(gaps, signs, labels, strict=True):
        if gap is None:
            verdicts.append("not shown")
            continue
        low, high = gap["low"], gap["high"]
        said.append(f"{label} {format_number(gap['mean'], 2, signed=True)} {format_interval(low, high, 2)}".rstrip())
        if low is None:
            verdicts.append("not shown")
        else:
            least, most = sorted((sign * low, sign * high))
            verdicts.append("holds" if least > 0 else "does not hold" if most < 0 else "not shown")
    return _combine_verdicts(*verdicts) if verdicts else "not shown", tuple(said)


def _combine_verdicts(*verdicts: Any) -> FindingVerdict:
    if "does not hold" in verdicts:
        return "does not hold"
    return "not shown" if "not shown" in verdicts else "holds"


def _single_measure_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of algorithms on single measures: no means over encoders or metrics, and no costs."""
    return effects[
        (effects["factor"] == "algorithm") & (effects["encoder"] != ALL_COMBINED) & ~effects["metric"].isin(COSTS)
    ]


def _measure_count(effects: pd.DataFrame) -> int:
    return len(_single_measure_effects(effects)[["metric", "prompt_type", "encoder"]].drop_duplicates())


def _effects_with_verdicts(effects: pd.DataFrame, level: str, against: Any) -> pd.DataFrame:
    """Effects of one algorithm against some, with what is shown: ``better``, ``worse``, ``not_worse``."""
    own = _single_measure_effects(effects)
    own = own[(own["level"] == level) & own["against"].isin(list(against))]
    low, high, q = (own[name].astype(float) for name in ("low", "high", "q"))
    sure = q <= FALSE_DISCOVERY_RATE
    return own.assign(better=sure & (low > 0), worse=sure & (high < 0), not_worse=low >= 0)
