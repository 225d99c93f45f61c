"""The four findings of arXiv 2309.14859 on any table of scores: each holds, does not hold, or is not shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from lycoris.analysis.statistics.category_effects import THIRD_FINDING_SIGNS
from lycoris.analysis.statistics.effects import comparisons, mean_over_pairs, shared_prompts_only
from lycoris.analysis.statistics.group_means import GroupMean, mean_of_known, mean_over_groups
from lycoris.analysis.statistics.measures import ALL_COMBINED, COSTS, Measure
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.analysis.text.effect_text import level_label
from lycoris.analysis.text.formatting import format_interval, format_number
from lycoris.terms import PROMPT_TYPES

FindingVerdict = Literal["holds", "does not hold", "not shown"]
Assessment = tuple[FindingVerdict, tuple[str, ...]]
"""A verdict with its evidence."""
CLAIMS = (
    "LoKr beats LoRA and LoHa on image similarity of new prompts, and is often worse elsewhere",
    "No algorithm leads on every metric",
    "`none` captions raise fidelity and lower controllability and preservation against `all`",
    "Native fine-tuning reaches the highest text alignment",
)
OFTEN_FRACTION = 0.25
"""The fraction of the other measures on which LoKr must be worse than LoRA or LoHa to be "often" worse."""
FALSE_DISCOVERY_RATE = 0.05
"""The false discovery rate at which one of many measures counts as shown."""
FINDINGS_RULE = (
    "A finding holds where every interval (95 %, over concepts) lies on its side of 0, does not hold where one lies on "
    "the other side, and is not shown otherwise. Where measures are counted, one counts only if q is at most 0.05 as "
    f"well; often is {OFTEN_FRACTION:.0%} of them."
)


@dataclass(frozen=True)
class Finding:
    """One finding, tested on a table.

    Attributes:
        number: its place in `CLAIMS`, from 1.
        claim: the finding in a sentence.
        verdict: what the table shows of it.
        evidence: the numbers behind the verdict; empty where the table has no such runs.
    """

    number: int
    claim: str
    verdict: FindingVerdict
    evidence: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Claim, verdict and evidence in one line."""
        evidence = "; ".join(self.evidence) or "the table has no runs to test it on"
        return f"Finding {self.number} ({self.claim}): {self.verdict}. {evidence}."


def evaluate_findings(ranking: Ranking, effects: pd.DataFrame) -> list[Finding]:
    """The four findings, each with a verdict by `FINDINGS_RULE`.

    Args:
        ranking: of a table of scores.
        effects: of :func:`lycoris.analysis.statistics.effects.compute_effects` for it.
    """
    assessments = (
        _first_finding(ranking, effects),
        _second_finding(effects),
        _third_finding(ranking),
        _fourth_finding(ranking),
    )
    return [
        Finding(number, claim, *own) for number, (claim, own) in enumerate(zip(CLAIMS, assessments, strict=True), 1)
    ]


def _first_finding(ranking: Ranking, effects: pd.DataFrame) -> Assessment:
    others = ("lora", "loha")
    is_similarity = partial(_matches, metric="image_similarity", prompt_type="alter")
    wins = [_mean_effect(ranking, "algorithm", "lokr", other, is_similarity) for other in others]
    labels = [f"image_similarity/alter of LoKr instead of {level_label('algorithm', other)}" for other in others]
    beats, evidence = _check_signs(wins, (1, 1), labels)
    own = _effects_with_verdicts(effects, "lokr", others)
    own = own[(own["metric"] != "image_similarity") | (own["prompt_type"] != "alter")]
    if own.empty or not evidence:
        return "not shown", evidence
    by_measure = own.groupby(["metric", "prompt_type", "encoder"])
    worse = by_measure["worse"].any().mean()
    not_worse = by_measure["not_worse"].all().mean()
    elsewhere: FindingVerdict = (
        "holds" if worse >= OFTEN_FRACTION else "does not hold" if not_worse > 1 - OFTEN_FRACTION else "not shown"
    )
    evidence += (
        f"elsewhere LoKr is shown to be worse than one of the two on {worse:.0%} of {by_measure.ngroups} measures",
    )
    return _combine_verdicts([beats, elsewhere]), evidence


def _second_finding(effects: pd.DataFrame) -> Assessment:
    names = sorted({str(name) for name in effects.loc[effects["factor"] == "algorithm", "level"]})
    if len(names) < 2:
        return "not shown", ()
    losses, leaders = {}, []
    for name in names:
        own = _effects_with_verdicts(effects, name, [other for other in names if other != name])
        losses[name] = int(own.groupby(["metric", "prompt_type", "encoder"])["worse"].any().sum())
        if len(own) and own["better"].all():
            leaders.append(name)
    counts = ", ".join(
        f"{level_label('algorithm', name)} is shown to be beaten on {count}" for name, count in losses.items()
    )
    verdict: FindingVerdict = "does not hold" if leaders else "holds" if all(losses.values()) else "not shown"
    return verdict, (f"{counts} of {_measure_count(effects)} measures",)


def _third_finding(ranking: Ranking) -> Assessment:
    effects = [
        _mean_effect(ranking, "captions", "none", "all", partial(_is_dimension, name=name))
        for name in THIRD_FINDING_SIGNS
    ]
    return _check_signs(effects, tuple(THIRD_FINDING_SIGNS.values()), list(THIRD_FINDING_SIGNS))


def _fourth_finding(ranking: Ranking) -> Assessment:
    others = [name for name in ranking.settings["algorithm"].drop_duplicates() if name != "full"]
    effects = [_mean_effect(ranking, "algorithm", "full", other, _is_text_similarity) for other in others]
    labels = [f"text_similarity of native instead of {level_label('algorithm', other)}" for other in others]
    return _check_signs(effects, (1,) * len(effects), labels)


def _matches(measure: Measure, metric: str, prompt_type: str) -> bool:
    return measure.metric == metric and measure.prompt_type == prompt_type


def _is_dimension(measure: Measure, name: str) -> bool:
    return _matches(measure, name, ALL_COMBINED) and measure.encoder == ALL_COMBINED


def _is_text_similarity(measure: Measure) -> bool:
    """On any prompt with the trigger."""
    prompt_type = PROMPT_TYPES.get(measure.prompt_type)
    without_trigger = prompt_type is not None and not prompt_type.has_trigger
    return measure.metric == "text_similarity" and measure.prompt_type != ALL_COMBINED and not without_trigger


def _mean_effect(
    ranking: Ranking, factor: str, level: str, against: str, is_included: Callable[[Measure], bool]
) -> GroupMean | None:
    """The mean difference in scaled rank over some measures of equal weight; None without such runs."""
    ranking = shared_prompts_only(ranking, factor)
    included = [index for index, one in enumerate(ranking.measures) if is_included(one)]
    single = [index for index in included if ranking.measures[index].encoder != ALL_COMBINED]
    included = single or included
    for one in comparisons(ranking.settings, (factor,)) if included else ():
        if {one.level, one.against} == {level, against}:
            sign = 1 if one.level == level else -1
            differences = mean_over_pairs(one.rank_differences(ranking))[:, included] * sign
            return mean_over_groups(mean_of_known(differences, axis=1), minimum=-1.0)
    return None


def _check_signs(effects: Sequence[GroupMean | None], signs: tuple[int, ...], labels: list[str]) -> Assessment:
    """Whether every effect lies on its side of 0, with the numbers; a missing effect shows nothing."""
    evidence = [
        f"{label} {format_number(effect.mean, 2, signed=True)} {format_interval(effect.low, effect.high, 2)}".rstrip()
        for effect, label in zip(effects, labels, strict=True)
        if effect is not None
    ]
    verdicts = [_sign_verdict(effect, sign) for effect, sign in zip(effects, signs, strict=True)]
    return _combine_verdicts(verdicts) if verdicts else "not shown", tuple(evidence)


def _sign_verdict(effect: GroupMean | None, sign: int) -> FindingVerdict:
    if effect is None or effect.low is None or effect.high is None:
        return "not shown"
    low, high = sorted((sign * effect.low, sign * effect.high))
    return "holds" if low > 0 else "does not hold" if high < 0 else "not shown"


def _combine_verdicts(verdicts: Sequence[FindingVerdict]) -> FindingVerdict:
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


def _effects_with_verdicts(effects: pd.DataFrame, level: str, against: Sequence[str]) -> pd.DataFrame:
    """Effects of one algorithm against others, with what they show: ``better``, ``worse``, ``not_worse``."""
    own = _single_measure_effects(effects)
    own = own[(own["level"] == level) & own["against"].isin(list(against))]
    low, high, q = (own[name].astype(float) for name in ("low", "high", "q"))
    significant = q <= FALSE_DISCOVERY_RATE
    return own.assign(better=significant & (low > 0), worse=significant & (high < 0), not_worse=low >= 0)
