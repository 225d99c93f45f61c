"""Expectations that were fixed before a study ran: each is confirmed, contradicted or not confirmed by its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy import stats

from lycoris.analysis.statistics.effects import STUDY_FACTORS, comparisons, shared_prompts_only
from lycoris.analysis.statistics.group_means import GroupMean, mean_of_known, mean_over_groups
from lycoris.analysis.statistics.measures import ALL_COMBINED, EFFICIENCY, Measure, mean_components
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.registry import METRICS
from lycoris.terms import DIMENSIONS, PROMPT_TYPES

Direction = Literal["higher", "lower"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
ExpectationVerdict = Literal["confirmed", "contradicted", "not confirmed"]
MIN_CONCEPTS = 3
"""With fewer concepts nothing is decided: two may agree by chance."""
SIGNIFICANCE_LEVEL = 0.05
"""The probability, after Holm's correction, up to which a difference counts."""
FILTER_NAMES = (
    *("category", "concept", "prompt_type", "encoder"),
    *("base", "algorithm", "preset", "captions", "times", "dim", "alpha", "factor", "learning_rate", "epoch"),
)
"""What ``where`` of an expectation can select."""
EXPECTATIONS_RULE = (
    "An expectation is confirmed where the 95 % interval over concepts of the paired difference in scaled rank lies "
    "beyond the smallest difference (0 unless stated) on the expected side, contradicted where it lies beyond 0 on the "
    f"other side, and not confirmed otherwise. Both also need p at most {SIGNIFICANCE_LEVEL} after Holm's correction "
    f"for all expectations of the study (t-test over concepts, two-sided). With fewer than {MIN_CONCEPTS} concepts "
    "nothing is decided."
)


@dataclass(frozen=True)
class Expectation:
    """One difference that a study is expected to show.

    Attributes:
        metric: of `lycoris.metrics.METRICS`, or one of `lycoris.terms.DIMENSIONS`.
        direction: whether `level` is expected to rank higher or lower than `against`. Ranks are better when higher,
            for any metric.
        factor: of `lycoris.analysis.statistics.effects.STUDY_FACTORS`.
        level, against: two of its levels.
        where: of `FILTER_NAMES` -> the values that count; all by default.
        smallest_difference: of the scaled rank, in [0, 1); the interval must lie beyond it.
        also_with: measures, such as ``text_similarity/trigger``, that the dimension leaves out; the effect with them
            is reported beside the one that decides.
    """

    metric: str
    direction: Direction
    factor: str
    level: str
    against: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    smallest_difference: float = 0.0
    also_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks: tuple[tuple[str, str, Sequence[str]], ...] = (
            ("metric of an expectation", self.metric, (*METRICS, *DIMENSIONS, EFFICIENCY)),
            ("direction of an expectation", self.direction, DIRECTIONS),
            ("factor of an expectation", self.factor, tuple(STUDY_FACTORS)),
            *(("filter of an expectation", name, FILTER_NAMES) for name in self.where),
            *(("prompt type", name, tuple(PROMPT_TYPES)) for name in self.where.get("prompt_type", ())),
            *(("metric in `also_with`", name.split("/")[0], tuple(METRICS)) for name in self.also_with),
        )
        for kind, name, known in checks:
            if name not in known:
                raise unknown_name_error(kind, name, known)
        if self.level == self.against:
            raise InputError(f"An expectation needs two levels of `{self.factor}`, but got `{self.level}` twice.")
        if self.factor in self.where:
            raise InputError(f"An expectation compares levels of `{self.factor}`: `where` must not select it as well.")
        if not 0 <= self.smallest_difference < 1:
            raise InputError(f"`smallest_difference` must be in [0, 1), but got {self.smallest_difference}.")

    @property
    def sign(self) -> int:
        """1 where `level` is expected to rank higher, else -1."""
        return 1 if self.direction == "higher" else -1


@dataclass(frozen=True)
class ExpectationResult:
    """What the scores of a study show of one expectation.

    Attributes:
        expectation: the expectation.
        verdict: by `EXPECTATIONS_RULE`.
        effect: `level` minus `against` in scaled rank with its interval over concepts; None without such runs.
        p: two-sided, before correction; 1 where nothing can be tested.
        adjusted_p: after Holm's correction.
        also: the effect with the measures of ``also_with``; None without such measures.
    """

    expectation: Expectation
    verdict: ExpectationVerdict
    effect: GroupMean | None
    p: float
    adjusted_p: float
    also: GroupMean | None = None


def evaluate_expectations(ranking: Ranking, expectations: Sequence[Expectation]) -> list[ExpectationResult]:
    """Decide the expectations of a study by `EXPECTATIONS_RULE`.

    Args:
        ranking: of the study's table of scores.
        expectations: all of the study, since the correction is for all of them.
    """
    differences = [concept_differences(ranking, one) for one in expectations]
    p = [p_value(own, one) for own, one in zip(differences, expectations, strict=True)]
    results = []
    for one, own, single, adjusted in zip(expectations, differences, p, holm(p), strict=True):
        effect = mean_over_groups(own, minimum=-1.0)
        also = concept_differences(ranking, one, one.also_with) if one.also_with else np.empty(0)
        verdict = decide(effect, one, adjusted)
        results.append(ExpectationResult(one, verdict, effect, single, adjusted, mean_over_groups(also, minimum=-1.0)))
    return results


def decide(effect: GroupMean | None, expectation: Expectation, adjusted_p: float) -> ExpectationVerdict:
    """Return the verdict of `EXPECTATIONS_RULE` for an effect and its corrected probability."""
    if effect is None or effect.low is None or effect.high is None or effect.groups < MIN_CONCEPTS:
        return "not confirmed"
    low, high = sorted((expectation.sign * effect.low, expectation.sign * effect.high))
    if adjusted_p > SIGNIFICANCE_LEVEL:
        return "not confirmed"
    return "confirmed" if low > expectation.smallest_difference else "contradicted" if high < 0 else "not confirmed"


def holm(p: Sequence[float]) -> list[float]:
    """Return probabilities corrected for their number.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def concept_differences(
    ranking: Ranking, expectation: Expectation, also_with: Sequence[str] = ()
) -> Float[np.ndarray, " concepts"]:
    """The paired differences of an expectation, averaged over pairs and measures within each concept.

    Args:
        ranking: of the study's table of scores.
        expectation: the expectation.
        also_with: measures that count as well although their dimension leaves them out.

    Returns:
        `level` minus `against` for each concept; empty where there are no such runs.
    """
    ranking = shared_prompts_only(ranking, expectation.factor)
    components = _components(ranking, expectation, also_with)
    for one in comparisons(ranking.settings, (expectation.factor,)) if components else ():
        if {str(one.level), str(one.against)} != {expectation.level, expectation.against}:
            continue
        pairs = [pair for pair in one.pairs if all(_is_selected(ranking, index, expectation) for index in pair)]
        if not pairs:
            break
        sign = 1 if str(one.level) == expectation.level else -1
        level, against = (ranking.group_ranks[list(own)] for own in zip(*pairs, strict=True))
        inner = [mean_of_known((level - against)[:, :, part], axis=2) for part in components]
        by_concept = mean_of_known(mean_of_known(np.stack(inner, axis=2), axis=2), axis=0) * sign
        own = by_concept[[_is_group_selected(group, expectation) for group in ranking.groups]]
        return np.asarray(own[~np.isnan(own)])
    return np.empty(0)


def _components(ranking: Ranking, expectation: Expectation, also_with: Sequence[str]) -> list[list[int]]:
    """The positions of the measures that count, by metric, so that each metric has the same weight."""
    singles = [one for one in ranking.measures if ALL_COMBINED not in (one.prompt_type, one.encoder)]
    singles = [one for one in singles if _is_measure_selected(one, expectation)]
    if expectation.metric in METRICS:
        parts = [[one for one in singles if one.metric == expectation.metric]]
    else:
        whole = Measure(expectation.metric, ALL_COMBINED, ALL_COMBINED, expectation.metric, True)
        parts = [list(part) for part in mean_components(singles).get(whole, [])]
        for name in also_with:
            more = [one for one in singles if one.name == name or one.name.startswith(f"{name}/")]
            same = next((part for part in parts if more and part[0].metric == more[0].metric), None)
            if same is None:
                parts.append(more)
            else:
                same += [one for one in more if one not in same]
    return [[ranking.measures.index(one) for one in part] for part in parts if part]


def _is_measure_selected(measure: Measure, expectation: Expectation) -> bool:
    values = {"prompt_type": measure.prompt_type, "encoder": measure.encoder}
    return all(value in expectation.where.get(name, (value,)) for name, value in values.items())


def _is_selected(ranking: Ranking, setting: int, expectation: Expectation) -> bool:
    """Whether an adapter setting has the values of ``where``; numbers may be written in any way."""
    row = ranking.settings.iloc[setting]
    own = {name: values for name, values in expectation.where.items() if name in row.index}
    return all(any(_is_equal(row[name], value) for value in values) for name, values in own.items())


def _is_equal(value: Any, wanted: str) -> bool:
    try:
        return float(value) == float(wanted)
    except ValueError:
        return str(value) == wanted


def _is_group_selected(group: str, expectation: Expectation) -> bool:
    category, _, concept = group.partition("/")
    names = {"category": (category,), "concept": (concept, concept.partition("/")[0])}
    return all(
        any(value in own for value in expectation.where[name])
        for name, own in names.items()
        if name in expectation.where
    )


def p_value(differences: Float[np.ndarray, " concepts"], expectation: Expectation) -> float:
    """The two-sided probability that the nearer of confirmation and contradiction is by chance."""
    if len(differences) < MIN_CONCEPTS:
        return 1.0
    signed = expectation.sign * differences
    mean, error = float(signed.mean()), float(signed.std(ddof=1) / np.sqrt(len(signed)))
    if error < 1e-12:  # all equal but for rounding
        return 0.0 if mean - expectation.smallest_difference > 1e-9 or mean < -1e-9 else 1.0
    confirmed = stats.t.sf((mean - expectation.smallest_difference) / error, len(signed) - 1)
    contradicted = stats.t.cdf(mean / error, len(signed) - 1)
    return float(min(1.0, 2 * min(confirmed, contradicted)))
