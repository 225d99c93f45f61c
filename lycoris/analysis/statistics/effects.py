"""The effect of one factor: adapter settings that differ in it alone, compared on the same concepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from lycoris.analysis.statistics.configurations import UNSPECIFIED
from lycoris.analysis.statistics.group_means import mean_of_known, mean_over_groups
from lycoris.analysis.statistics.measures import ALL_COMBINED, COSTS
from lycoris.analysis.statistics.ranking import Ranking, exclude_prompt_types
from lycoris.analysis.text.formatting import algorithm_titles, order_key

_COMMON_SETTINGS = ("base", "strength", "pictures", "times")
_LAYER_SETTINGS = ("algorithm", "preset", "captions")
_CAPACITY_SETTINGS = ("dim", "alpha", "factor")
FACTORS: dict[str, tuple[str, ...]] = {
    "algorithm": (*_COMMON_SETTINGS, "preset", "captions", "capacity_level", "scale_level"),
    "preset": (*_COMMON_SETTINGS, "algorithm", "captions", *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
    "captions": (*_COMMON_SETTINGS, "algorithm", "preset", *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
    "capacity": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "learning_rate", "epoch"),
    "learning_rate": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", *_CAPACITY_SETTINGS, "epoch"),
    "epoch": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", *_CAPACITY_SETTINGS, "learning_rate"),
    "pictures": ("base", "strength", "times", *_LAYER_SETTINGS, *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
    "times": ("base", "strength", "pictures", *_LAYER_SETTINGS, *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
}
"""Factor -> what must agree between two adapter settings that are compared. For algorithms the learning rate and the
length must agree as well: by value where the two share one, otherwise by their distance from the defaults, or from the
end of training."""
CAPACITY_PARTS: dict[str, tuple[str, ...]] = {
    "dim": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "scale", "factor", "learning_rate", "epoch"),
    "alpha": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "dim", "factor", "learning_rate", "epoch"),
    "factor": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "dim", "alpha", "learning_rate", "epoch"),
}
"""The same for the parts of a capacity; a dim is compared at one alpha / dim."""
STUDY_FACTORS = {**FACTORS, **CAPACITY_PARTS}
"""The factors that a study can compare."""
LEVEL_SPECIFIC_PROMPTS: dict[str, tuple[str, ...]] = {"captions": ("train",)}
"""Factor -> prompt types whose prompts differ between its levels, so that they cannot compare the levels. The prompts
of `train` are the captions themselves, and with tags they name the places of the references."""
COLUMNS = (
    *("factor", "level", "against", "metric", "prompt_type", "encoder"),
    *("effect", "low", "high", "p", "q", "pairs", "groups"),
)


@dataclass(frozen=True)
class Comparison:
    """Two levels of a factor, and the pairs of adapter settings that differ in nothing else.

    Attributes:
        factor: the factor.
        level: the larger level.
        against: the smaller level.
        pairs: indices into ``Ranking.settings``, those at `level` first.
    """

    factor: str
    level: Any
    against: Any
    pairs: list[tuple[int, int]]

    def rank_differences(self, ranking: Ranking) -> Float[np.ndarray, "pairs groups measures"]:
        """`level` minus `against` in scaled rank, pair by pair; NaN where one of the two was not scored."""
        level, against = (list(settings) for settings in zip(*self.pairs, strict=True))
        return ranking.group_ranks[level] - ranking.group_ranks[against]


def mean_over_pairs(differences: Float[np.ndarray, "pairs groups measures"]) -> Float[np.ndarray, "groups measures"]:
    """The mean over pairs; NaN where there is none."""
    return mean_of_known(differences, axis=0)


def comparisons(settings: pd.DataFrame, factors: Iterable[str] = tuple(FACTORS)) -> list[Comparison]:
    """Every pair of levels of every factor for which a table has matched adapter settings.

    Args:
        settings: as in :class:`lycoris.analysis.statistics.ranking.Ranking`.
        factors: of `STUDY_FACTORS`.
    """
    return [comparison for factor in factors for comparison in _factor_comparisons(settings, factor)]


def _factor_comparisons(settings: pd.DataFrame, factor: str) -> Iterator[Comparison]:
    levels = [UNSPECIFIED if pd.isna(level) or level == "" else level for level in settings[factor]]
    capacities = dict(zip(levels, zip(settings["size"], settings["scale"], strict=True), strict=True))

    def position(level: Any) -> tuple[Any, ...]:
        if factor == "capacity":
            return (level != UNSPECIFIED, *capacities[level])
        if isinstance(level, str):
            return (level != UNSPECIFIED, *order_key(algorithm_titles() if factor == "algorithm" else (), level))
        return (True, float(level))

    ordered = sorted(set(levels), key=position)
    if factor != "algorithm":
        yield from _matched_comparisons(settings, factor, levels, ordered, STUDY_FACTORS[factor])
        return
    for against, level in combinations(ordered, 2):
        keys = (*STUDY_FACTORS[factor], *_length_keys(settings, levels, level, against))
        yield from _matched_comparisons(settings, factor, levels, [against, level], keys)


def _length_keys(settings: pd.DataFrame, levels: list[Any], level: Any, against: Any) -> Iterator[str]:
    """By what learning rates and lengths of two algorithms agree: by value where they share one, else by distance."""
    for setting, distance in (("learning_rate", "rate_level"), ("epoch", "epoch_level")):
        own, other = (set(settings[setting][[one == name for one in levels]].dropna()) for name in (level, against))
        yield setting if own & other else distance


def _matched_comparisons(
    settings: pd.DataFrame, factor: str, levels: list[Any], ordered: list[Any], keys: tuple[str, ...]
) -> Iterator[Comparison]:
    """Comparisons of levels, in their order, between settings that agree in `keys`."""
    positions = {level: position for position, level in enumerate(ordered)}
    agreeing: dict[tuple[str, ...], dict[int, list[int]]] = {}
    for setting, (level, key) in enumerate(zip(levels, settings[list(keys)].astype(str).to_numpy(), strict=True)):
        if level in positions:
            agreeing.setdefault(tuple(key), {}).setdefault(positions[level], []).append(setting)
    matched: dict[tuple[int, int], list[tuple[list[int], list[int]]]] = {}
    for own in agreeing.values():
        for against, level in combinations(sorted(own), 2):
            matched.setdefault((against, level), []).append((own[against], own[level]))
    for (against, level), sides in sorted(matched.items(), key=lambda entry: entry[0]):
        sides.sort(key=lambda side: min(side[0][0], side[1][0]))
        pairs = [(one, other) for others, ones in sides for one in ones for other in others]
        yield Comparison(factor, _whole_number(ordered[level]), _whole_number(ordered[against]), pairs)


def shared_prompts_only(ranking: Ranking, factor: str) -> Ranking:
    """The ranking on the prompts that are the same at every level of a factor."""
    return exclude_prompt_types(ranking, LEVEL_SPECIFIC_PROMPTS.get(factor, ()))


def compute_effects(ranking: Ranking) -> pd.DataFrame:
    """The mean difference in scaled rank between every two levels of every factor, on the same prompts.

    A difference is taken between matched adapter settings in one group, averaged over them and then over groups.
    Intervals are 95 % bootstraps over groups of the paired differences; `p` is that of a paired t-test over groups,
    `q` the same after Benjamini and Hochberg's correction for all comparisons of the table.

    Returns:
        `COLUMNS`. Each comparison is listed in both directions. None for a number that does not exist: an interval
        needs two groups.
    """
    rows = []
    rankings = {factor: shared_prompts_only(ranking, factor) for factor in FACTORS}
    for one in comparisons(ranking.settings):
        own = rankings[one.factor]
        differences = one.rank_differences(own)
        pairs = (~np.isnan(differences)).any(axis=1).sum(axis=0)
        by_group = mean_over_pairs(differences)
        for index, measure in enumerate(own.measures):
            mean = mean_over_groups(by_group[:, index], minimum=-1.0)
            if mean is None:
                continue
            row = (one.factor, one.level, one.against, measure.metric, measure.prompt_type, measure.encoder)
            p = _paired_t_test_p(by_group[:, index])
            rows.append((*row, mean.mean, mean.low, mean.high, p, None, int(pairs[index]), mean.groups))
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    tested = [row for row in table.index if table["p"][row] is not None]
    if tested:
        corrected = stats.false_discovery_control(table.loc[tested, "p"].astype(float))
        table.loc[tested, "q"] = pd.Series([float(q) for q in corrected], index=tested, dtype=object)
    return pd.concat([table, _reversed(table)], ignore_index=True)


def _reversed(table: pd.DataFrame) -> pd.DataFrame:
    """The same comparisons in the other direction."""
    return table.assign(
        level=table["against"], against=table["level"],
        **{name: [None if value is None else -value for value in table[source]]
           for name, source in (("effect", "effect"), ("low", "high"), ("high", "low"))},
    )  # fmt: skip


def count_leads(effects: pd.DataFrame) -> pd.DataFrame:
    """How many measures each algorithm leads, that is, on how many its effect against every other is above 0.

    Args:
        effects: of :func:`compute_effects`; means over encoders and metrics do not count, nor do costs.

    Returns:
        By algorithm: ``led``; ``shown``, where every interval excludes 0 as well; and the number of ``measures``.
    """
    single = effects[
        (effects["factor"] == "algorithm") & (effects["encoder"] != ALL_COMBINED) & ~effects["metric"].isin(COSTS)
    ]
    counts: dict[str, dict[str, int]] = {}
    for _, own in single.groupby(["metric", "prompt_type", "encoder"]):
        for name, against in own.groupby("level"):
            entry = counts.setdefault(str(name), {"led": 0, "shown": 0, "measures": 0})
            entry["measures"] += 1
            entry["led"] += bool((against["effect"] > 0).all())
            entry["shown"] += all(low is not None and low > 0 for low in against["low"])
    return pd.DataFrame.from_dict(counts, orient="index", columns=["led", "shown", "measures"])


def _whole_number(level: Any) -> Any:
    """A level as JSON has it: whole numbers without a decimal point."""
    return int(level) if isinstance(level, float) and level.is_integer() else level


def _paired_t_test_p(values: Float[np.ndarray, " groups"]) -> float | None:
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    if np.ptp(known) < 1e-9:  # all equal but for rounding
        return 1.0 if abs(known[0]) < 1e-9 else 0.0
    return float(stats.ttest_1samp(known, 0.0).pvalue)
