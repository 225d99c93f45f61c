"""What one choice does in each category of concepts: runs that differ in nothing else, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.effects import Comparison, comparisons, shared_prompts_only
from lycoris.analysis.statistics.measures import ALL_COMBINED, EFFICIENCY
from lycoris.analysis.statistics.ranking import Ranking, append_means, mean_over_groups, setting_index
from lycoris.errors import InputError
from lycoris.terms import DIMENSIONS

COLUMNS = (
    *("category", "factor", "level", "against", "metric", "prompt_type", "encoder"),
    *("effect", "low", "high", "pairs", "concepts"),
)
MIN_PAIRS = 3
"""With fewer pairs there is no interval: ranks are coarse, and two may well agree by chance."""
ALL_CATEGORIES = "all"
"""The category of a mean over all categories, each weighing the same."""


def effects_by_category(ranking: Ranking, factor: str) -> pd.DataFrame:
    """The mean difference in scaled rank that each level of a factor makes against another, category by category.

    A pair is two runs of one concept with one seed that agree in everything but the factor; they are compared on the
    prompts that are the same for both (`lycoris.analysis.statistics.effects.OWN_PROMPTS`). Intervals are 95 %
    bootstraps over the pairs of a category (Student's below eight): they say what would change with other seeds and
    settings on these concepts. Over all categories the unit is a category.

    Args:
        ranking: of a table of runs; its rows tell seed and category.
        factor: of `lycoris.analysis.statistics.effects.ASKABLE`.

    Returns:
        `COLUMNS`; each comparison once, as `level` minus `against`. ``low`` and ``high`` are None where there are
        fewer than `FEWEST` pairs, or categories.

    Raises:
        InputError: no two runs of the table differ in this factor alone.
    """
    ranking = shared_prompts_only(ranking, factor)
    rows = ranking.rows[~ranking.rows["aggregate"]]
    names = [one.name for one in ranking.measures if one.name in rows]
    values = append_means(rows[names].to_numpy(), [one for one in ranking.measures if one.name in rows])
    arms = setting_index(rows)
    places = {key: place for place, key in enumerate(zip(arms, rows["seed"].astype(str), rows["group"], strict=True))}
    found = []
    for one in comparisons(ranking.settings, (factor,)):
        gaps, categories, concepts = [], [], []
        for level, against in one.pairs:
            for (arm, seed, group), place in places.items():
                other = places.get((against, seed, group))
                if arm == level and other is not None:
                    gaps.append(values[place] - values[other])
                    categories.append(rows["category"].iloc[place])
                    concepts.append(group)
        if gaps:
            found += _comparison_rows(ranking, one, np.stack(gaps), np.array(categories), np.array(concepts))
    if not found:
        raise InputError(f"No two runs of the table differ in `{factor}` alone, so that its effect cannot be told.")
    return pd.DataFrame(found, columns=list(COLUMNS))


def _comparison_rows(
    ranking: Ranking,
    one: Comparison,
    gaps: Float[np.ndarray, "pairs measures"],
    categories: np.ndarray,
    concepts: np.ndarray,
) -> list[dict[str, object]]:
    rows = []
    told = {"factor": one.factor, "level": one.level, "against": one.against}
    for place, measure in enumerate(ranking.measures):
        named = {"metric": measure.metric, "prompt_type": measure.prompt_type, "encoder": measure.encoder}
        middles = []
        for category in sorted(set(categories)):
            own = categories == category
            mean = _mean_with_interval(gaps[own, place])
            if mean is None:
                continue
            middles.append(mean["mean"])
            numbers = {"effect": mean["mean"], "low": mean["low"], "high": mean["high"], "pairs": mean["groups"]}
            rows.append({"category": category, **told, **named, **numbers, "concepts": len(set(concepts[own]))})
        whole = _mean_with_interval(np.array(middles)) if len(middles) > 1 else None
        if whole is not None:
            numbers = {"effect": whole["mean"], "low": whole["low"], "high": whole["high"], "pairs": len(gaps)}
            rows.append({"category": ALL_CATEGORIES, **told, **named, **numbers, "concepts": len(set(concepts))})
    return rows


def _mean_with_interval(values: Float[np.ndarray, " units"]) -> dict[str, Any] | None:
    mean = mean_over_groups(values, minimum=-1.0)
    return mean if mean is None or mean["groups"] >= MIN_PAIRS else {**mean, "low": None, "high": None}


def dimension_rows(effects: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`by_category` that are of a whole dimension, in the order of the dimensions."""
    known = [name for name in (*DIMENSIONS, EFFICIENCY) if name in set(effects["metric"])]
    own = effects[
        effects["metric"].isin(known) & (effects["prompt_type"] == ALL_COMBINED) & (effects["encoder"] == ALL_COMBINED)
    ]
    return own.sort_values("metric", key=lambda names: names.map(known.index), kind="stable")


THIRD_FINDING_SIGNS = {"fidelity": 1, "controllability": -1, "preservation": -1}
"""Dimension -> the sign of `none` against `all` captions in the third finding of arXiv 2309.14859."""


def third_finding_by_category(effects: pd.DataFrame) -> dict[str, dict[str, bool | None]]:
    """Where `none` captions raise fidelity and lower controllability and preservation against `all` captions.

    Args:
        effects: of :func:`by_category` for captions.

    Returns:
        Of every category with intervals: dimension -> whether the interval lies on the finding's side of 0 (True), on
        the other (False), or holds it (None).
    """
    found: dict[str, dict[str, bool | None]] = {}
    for row in dimension_rows(effects).to_dict("records"):
        levels = (row["level"], row["against"])
        if set(levels) != {"none", "all"} or row["metric"] not in THIRD_FINDING_SIGNS or pd.isna(row["low"]):
            continue
        sign = THIRD_FINDING_SIGNS[row["metric"]] * (1 if levels == ("none", "all") else -1)
        low, high = sorted((sign * row["low"], sign * row["high"]))
        found.setdefault(row["category"], {})[row["metric"]] = True if low > 0 else False if high < 0 else None
    return found


def factor_levels(effects: pd.DataFrame) -> Sequence[str]:
    """The levels of the factor, each once."""
    return list(dict.fromkeys([*map(str, effects["against"]), *map(str, effects["level"])]))
