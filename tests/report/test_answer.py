"""The answer of a study to one factor: verdicts, places on the axis, and what the summary says."""

from __future__ import annotations

import pandas as pd
import pytest

from lycoris.analysis.statistics.category_effects import ALL_CATEGORIES, COLUMNS
from lycoris.report.study.answer import AXIS_HALF_WIDTH, AXIS_MIDDLE, effect_verdict, factor_answer


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "better"), (-0.2, -0.01, "worse"), (-0.1, 0.1, "none"), (0.0, 0.2, "none"), (-0.2, 0.0, "none"),
        (None, None, "unknown"), (float("nan"), float("nan"), "unknown"),
    ],
)  # fmt: skip
def test_a_verdict_needs_an_interval_that_excludes_zero(low, high, verdict):
    assert effect_verdict(low, high) == verdict


def effects(*rows: tuple[str, str, float, float | None, float | None]) -> pd.DataFrame:
    """Effects of `none` against `all` captions: (category, dimension, effect, low, high)."""
    fixed = {"factor": "captions", "level": "none", "against": "all", "prompt_type": "all", "encoder": "all"}
    return pd.DataFrame(
        [
            {**fixed, "category": category, "metric": name, "effect": effect, "low": low, "high": high, "pairs": 4,
             "concepts": 2}
            for category, name, effect, low, high in rows
        ],
        columns=list(COLUMNS),
    )  # fmt: skip


def test_cells_are_placed_on_an_axis_that_ends_at_the_largest_number():
    answer = factor_answer(
        "captions", effects(("toys", "fidelity", 0.2, 0.1, 0.4), ("toys", "diversity", -0.1, -0.2, 0))
    )
    [row] = answer.categories[0].rows
    fidelity, diversity = row.cells["fidelity"], row.cells["diversity"]
    assert fidelity.high == AXIS_MIDDLE + AXIS_HALF_WIDTH
    assert fidelity.middle == AXIS_MIDDLE + AXIS_HALF_WIDTH / 2
    assert diversity.low == AXIS_MIDDLE - AXIS_HALF_WIDTH / 2
    assert (fidelity.verdict, diversity.verdict) == ("better", "none")


def test_the_summary_is_over_all_categories_where_these_have_intervals():
    rows = [(name, "fidelity", 0.2, 0.1, 0.3) for name in ("toys", "styles", "scenes")]
    with_interval = factor_answer("captions", effects(*rows, (ALL_CATEGORIES, "fidelity", 0.2, 0.1, 0.3)))
    assert [line.category for line in with_interval.summary] == [""]
    without = factor_answer("captions", effects(*rows, (ALL_CATEGORIES, "fidelity", 0.2, None, None)))
    assert [line.category for line in without.summary] == ["toys", "styles", "scenes"]
    assert [cell.name for cell in without.summary[0].better] == ["fidelity"]
