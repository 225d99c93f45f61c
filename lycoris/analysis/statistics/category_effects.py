"""The effect of one factor in each category of concepts, from pairs of runs that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.effects import Comparison, comparisons, shared_prompts_only
from lycoris.analysis.statistics.group_means import GroupMean, mean_over_groups
from lycoris.analysis.statistics.measures import ALL_COMBINED, EFFICIENCY
from lycoris.analysis.statistics.ranking import Ranking, append_means, setting_index
from lycoris.errors import InputError
from lycoris.terms import DIMENSIONS

COLUMNS = (
    *("category", "factor", "level", "against", "metric", "prompt_type", "encoder"),
    *("effect", "low", "high", "pairs", "concepts"),
)
MIN_PAIRS = 3
"""With fewer pairs there is no interval: ranks are coarse, and two pairs may agree by chance."""
ALL_CATEGORIES = "all"
"""The category of a mean over all categories, each with the same weight."""
THIRD_FINDING_SIGNS = {"fidelity": 1, "controllability": -1, "preservation": -1}
"""Dimension -> the sign of `none` against `all` captions in the third finding of arXiv 2309.14859."""


def effects_by_category(ranking: Ranking, factor: str) -> pd.DataFrame:
    """The mean difference in scaled rank between every two levels of a factor, category by category.

    A pair is two runs of one concept with one seed that agree in everything but the factor, compared on the prompts
    that both have (`lycoris.analysis.statistics.effects.LEVEL_SPECIFIC_PROMPTS`). Intervals are 95 % bootstraps over
    the pairs of a category (Student's t below eight): they show what other seeds and settings on these concepts would
    change. Over all categories, the unit is a category.

    Args:
        ranking: of a table whose rows have seed and category.
        factor: of `lycoris.analysis.statistics.effects.STUDY_FACTORS`.

    Returns:
        `COLUMNS`; each comparison once, as `level` minus `against`. ``low`` and ``high`` are None where there are
        fewer than `MIN_PAIRS` pairs, or categories.

    Raises:
        InputError: No two runs of the table differ in this factor alone.
    """
    ranking = shared_prompts_only(ranking, factor)
    rows = ranking.rows[~ranking.rows["aggregate"]]
    measures = [one for one in ranking.measures if one.name in rows]
    values = append_means(rows[[one.name for one in measures]].to_numpy(), measures)
    keys = zip(setting_index(rows), rows["seed"].astype(str), rows["group"], strict=True)
    positions = {key: position for position, key in enumerate(keys)}
    result = []
    for one in comparisons(ranking.settings, (factor,)):
        differences, categories, concepts = [], [], []
        for level, against in one.pairs:
            for (setting, seed, group), position in positions.items():
                other = positions.get((against, seed, group))
                if setting == level and other is not None:
                    differences.append(values[position] - values[other])
                    categories.append(rows["category"].iloc[position])
                    concepts.append(group)
        if differences:
            result += _comparison_rows(ranking, one, np.stack(differences), np.array(categories), np.array(concepts))
    if not result:
        raise InputError(f"No two runs of the table differ in `{factor}` alone, so its effect cannot be estimated.")
    return pd.DataFrame(result, columns=list(COLUMNS))


def _comparison_rows(
    ranking: Ranking,
    one: Comparison,
    differences: Float[np.ndarray, "pairs measures"],
    categories: np.ndarray,
    concepts: np.ndarray,
) -> list[dict[str, object]]:
    rows = []
    levels = {"factor": one.factor, "level": one.level, "against": one.against}
    for index, measure in enumerate(ranking.measures):
        names = {"metric": measure.metric, "prompt_type": measure.prompt_type, "encoder": measure.encoder}
        means = []
        for category in sorted(set(categories)):
            own = categories == category
            mean = _mean_with_interval(differences[own, index])
            if mean is None:
                continue
            means.append(mean.mean)
            numbers = {"effect": mean.mean, "low": mean.low, "high": mean.high, "pairs": mean.groups}
            rows.append({"category": category, **levels, **names, **numbers, "concepts": len(set(concepts[own]))})
        overall = _mean_with_interval(np.array(means)) if len(means) > 1 else None
        if overall is not None:
            numbers = {"effect": overall.mean, "low": overall.low, "high": overall.high, "pairs": len(differences)}
            rows.append({"category": ALL_CATEGORIES, **levels, **names, **numbers, "concepts": len(set(concepts))})
    return rows


def _mean_with_interval(values: Float[np.ndarray, " units"]) -> GroupMean | None:
    mean = mean_over_groups(values, minimum=-1.0)
    return mean if mean is None or mean.groups >= MIN_PAIRS else replace(mean, low=None, high=None)


def dimension_rows(effects: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`effects_by_category` for whole dimensions, in the order of the dimensions."""
    names = [name for name in (*DIMENSIONS, EFFICIENCY) if name in set(effects["metric"])]
    own = effects[
        effects["metric"].isin(names) & (effects["prompt_type"] == ALL_COMBINED) & (effects["encoder"] == ALL_COMBINED)
    ]
    return own.sort_values("metric", key=lambda column: column.map(names.index), kind="stable")


def third_finding_by_category(effects: pd.DataFrame) -> dict[str, dict[str, bool | None]]:
    """Where `none` captions raise fidelity and lower controllability and preservation against `all` captions.

    Args:
        effects: of :func:`effects_by_category` for captions.

    Returns:
        For every category with intervals: dimension -> whether the interval lies on the finding's side of 0 (True), on
        the other side (False), or includes 0 (None).
    """
    result: dict[str, dict[str, bool | None]] = {}
    for row in dimension_rows(effects).to_dict("records"):
        levels = (row["level"], row["against"])
        if set(levels) != {"none", "all"} or row["metric"] not in THIRD_FINDING_SIGNS or pd.isna(row["low"]):
            continue
        sign = THIRD_FINDING_SIGNS[row["metric"]] * (1 if levels == ("none", "all") else -1)
        low, high = sorted((sign * row["low"], sign * row["high"]))
        result.setdefault(row["category"], {})[row["metric"]] = True if low > 0 else False if high < 0 else None
    return result


def factor_levels(effects: pd.DataFrame) -> Sequence[str]:
    """The levels of the factor, each once."""
    return list(dict.fromkeys([*map(str, effects["against"]), *map(str, effects["level"])]))
