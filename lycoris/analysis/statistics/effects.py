"""What one choice does: adapter settings that differ in one factor only, compared on the same pictures' concepts."""

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
from lycoris.analysis.statistics.measures import COSTS
from lycoris.analysis.statistics.ranking import Ranking, exclude_prompt_types, mean_over_groups
from lycoris.analysis.text.formatting import algorithm_titles, order_key

_COMMON_SETTINGS = ("base", "strength", "pictures")
_CAPACITY_SETTINGS = ("dim", "alpha", "factor")
FACTORS: dict[str, tuple[str, ...]] = {
    "algorithm": (*_COMMON_SETTINGS, "preset", "captions", "capacity_level", "scale_level"),
    "preset": (*_COMMON_SETTINGS, "algorithm", "captions", *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
    "captions": (*_COMMON_SETTINGS, "algorithm", "preset", *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
    "capacity": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "learning_rate", "epoch"),
    "learning_rate": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", *_CAPACITY_SETTINGS, "epoch"),
    "epoch": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", *_CAPACITY_SETTINGS, "learning_rate"),
    "pictures": ("base", "strength", "algorithm", "preset", "captions", *_CAPACITY_SETTINGS, "learning_rate", "epoch"),
}
"""Factor -> what must agree between two adapter settings that are compared. For algorithms the learning rate and the
length must, too: by value where the two share one, otherwise by their place beside the defaults, or from the end."""
CAPACITY_PARTS: dict[str, tuple[str, ...]] = {
    "dim": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "scale", "factor", "learning_rate", "epoch"),
    "alpha": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "dim", "factor", "learning_rate", "epoch"),
    "factor": (*_COMMON_SETTINGS, "algorithm", "preset", "captions", "dim", "alpha", "learning_rate", "epoch"),
}
"""The parts of a capacity likewise; a dim is compared at one alpha / dim."""
STUDY_FACTORS = {**FACTORS, **CAPACITY_PARTS}
"""All that a study can ask for."""
LEVEL_SPECIFIC_PROMPTS: dict[str, tuple[str, ...]] = {"captions": ("train",)}
"""Factor -> prompt types that ask for other things at each of its levels, so that they cannot tell the levels apart.
The prompts of `train` are the captions themselves, and tags name the very places of the references."""


@dataclass(frozen=True)
class Comparison:
    """Two levels of a factor with the pairs of arms that differ in nothing else; the larger level comes first."""

    factor: str
    level: Any
    against: Any
    pairs: list[tuple[int, int]]

    def rank_differences(self, ranking: Ranking) -> Float[np.ndarray, "pairs groups measures"]:
        """`level` minus `against` in scaled rank, pair by pair; NaN where one of the two was not scored."""
        level, against = (list(arms) for arms in zip(*self.pairs, strict=True))
        return ranking.group_ranks[level] - ranking.group_ranks[against]


def mean_over_pairs(differences: Float[np.ndarray, "pairs groups measures"]) -> Float[np.ndarray, "groups measures"]:
    """The mean over pairs; NaN where there is none."""
    known = ~np.isnan(differences)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, differences, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def comparisons(settings: pd.DataFrame, factors: Iterable[str] = tuple(FACTORS)) -> list[Comparison]:
    """Every pair of levels of every factor that some adapter settings of a table can tell apart.

    Args:
        arms: as in :class:`lycoris.analysis.statistics.ranking.Ranking`.
        factors: of `ASKABLE`.
    """
    return [comparison for factor in factors for comparison in _factor_comparisons(settings, factor)]


def _factor_comparisons(settings: pd.DataFrame, factor: str) -> Iterator[Comparison]:
    levels = [UNSPECIFIED if pd.isna(level) or level == "" else level for level in settings[factor]]
    places = dict(zip(levels, zip(settings["size"], settings["scale"], strict=True), strict=True))

    def place(level: Any) -> tuple[Any, ...]:
        if factor == "capacity":
            return (level != UNSPECIFIED, *places[level])
        if isinstance(level, str):
            return (level != UNSPECIFIED, *order_key(algorithm_titles() if factor == "algorithm" else (), level))
        return (True, float(level))

    ordered = sorted(set(levels), key=place)
    if factor != "algorithm":
        yield from _matched_comparisons(settings, factor, levels, ordered, STUDY_FACTORS[factor])
        return
    for other, one in combinations(ordered, 2):
        keys = list(STUDY_FACTORS[factor])
        for setting, place_of in (("learning_rate", "rate_level"), ("epoch", "epoch_level")):
            ours, others = (
                set(settings[setting][[level == name for level in levels]].dropna()) for name in (one, other)
            )
            keys.append(setting if ours & others else place_of)
        yield from _matched_comparisons(settings, factor, levels, [other, one], tuple(keys))


def _matched_comparisons(
    settings: pd.DataFrame, factor: str, levels: list[Any], ordered: list[Any], keys: tuple[str, ...]
) -> Iterator[Comparison]:
    """Comparisons of levels, in their order, whose arms agree in `keys`; each arm is looked at once."""
    places = {level: place for place, level in enumerate(ordered)}
    agreeing: dict[tuple[str, ...], dict[int, list[int]]] = {}
    for arm, (level, key) in enumerate(zip(levels, settings[list(keys)].astype(str).to_numpy(), strict=True)):
        if level in places:
            agreeing.setdefault(tuple(key), {}).setdefault(places[level], []).append(arm)
    found: dict[tuple[int, int], list[tuple[list[int], list[int]]]] = {}
    for own in agreeing.values():
        for other, one in combinations(sorted(own), 2):
            found.setdefault((other, one), []).append((own[other], own[one]))
    for (other, one), sides in sorted(found.items(), key=lambda entry: entry[0]):
        sides.sort(key=lambda side: min(side[0][0], side[1][0]))
        pairs = [(a, b) for against, level in sides for a in level for b in against]
        yield Comparison(factor, _whole_number(ordered[one]), _whole_number(ordered[other]), pairs)


def shared_prompts_only(ranking: Ranking, factor: str) -> Ranking:
    """The ranking on the prompts that are the same at every level of a factor."""
    return exclude_prompt_types(ranking, LEVEL_SPECIFIC_PROMPTS.get(factor, ()))


def compute_effects(ranking: Ranking) -> pd.DataFrame:
    """The mean difference in scaled rank that each level of a factor makes against another, on the same prompts.

    A difference is taken between matched adapter settings in one group, averaged over them and then over groups.
    Intervals are 95 % bootstraps over groups, the differences resampled as they are paired; `p` is that of a paired
    t-test over groups, `q` the same after Benjamini and Hochberg's correction for all comparisons of the table.

    Returns:
        ``factor``, ``level``, ``against``, ``metric``, ``prompt_type``, ``encoder``, ``effect``, ``low``, ``high``,
        ``p``, ``q``, the numbers of ``pairs`` and ``groups``. Each comparison stands there both ways round. None where
        there is no such number: an interval needs two groups.
    """
    rows = []
    asked = {factor: shared_prompts_only(ranking, factor) for factor in FACTORS}
    for one in comparisons(ranking.settings):
        gaps = one.rank_differences(asked[one.factor])
        pairs = (~np.isnan(gaps)).any(axis=1).sum(axis=0)
        grouped = mean_over_pairs(gaps)
        for place, measure in enumerate(asked[one.factor].measures):
            mean = mean_over_groups(grouped[:, place], minimum=-1.0)
            if mean is None:
                continue
            rows.append(
                {
                    **{"factor": one.factor, "level": one.level, "against": one.against},
                    **{"metric": measure.metric, "prompt_type": measure.prompt_type, "encoder": measure.encoder},
                    **{
                        "effect": mean["mean"],
                        "low": mean["low"],
                        "high": mean["high"],
                        "p": _paired_t_test_p(grouped[:, place]),
                    },
                    **{"q": None, "pairs": int(pairs[place]), "groups": mean["groups"]},
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    tested = [row for row in table.index if table["p"][row] is not None]
    if tested:
        corrected = stats.false_discovery_control(table.loc[tested, "p"].astype(float))
        table.loc[tested, "q"] = pd.Series([float(q) for q in corrected], index=tested, dtype=object)
    turned = table.assign(
        level=table["against"], against=table["level"],
        **{name: [None if value is None else -value for value in table[of]]
           for name, of in (("effect", "effect"), ("low", "high"), ("high", "low"))},
    )  # fmt: skip
    return pd.concat([table, turned], ignore_index=True)


COLUMNS = (
    *("factor", "level", "against", "metric", "prompt_type", "encoder"),
    *("effect", "low", "high", "p", "q", "pairs", "groups"),
)


def count_leads(effects: pd.DataFrame) -> pd.DataFrame:
    """How many measures each algorithm leads: its effect against every other is above 0.

    Args:
        table: of :func:`effects`; means over encoders and metrics do not count, nor do costs.

    Returns:
        By algorithm: ``led``, ``shown`` (every interval leaves out 0), and ``measures``, of which there were.
    """
    single = effects[
        (effects["factor"] == "algorithm") & (effects["encoder"] != "all") & ~effects["metric"].isin(COSTS)
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
    """A level as JSON has it: whole numbers without a point."""
    return int(level) if isinstance(level, float) and level.is_integer() else level


def _paired_t_test_p(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    if np.ptp(known) < 1e-9:  # all the same, but for rounding
        return 1.0 if abs(known[0]) < 1e-9 else 0.0
    return float(stats.ttest_1samp(known, 0.0).pvalue)
